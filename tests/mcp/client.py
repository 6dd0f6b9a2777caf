"""Drives a whole study through `windtunnel mcp` with the official Python SDK, in both revisions.

    pip install mcp==2.3.0
    python tests/mcp/client.py target/release/windtunnel [PNG_FOLDER]

Ends with status 0 when a study went from its first check to its finding, once after a hand-shake
(2025-11-25) and once without one (2026-07-28). With a folder, the figures are left there.
"""

import asyncio
import base64
import json
import struct
import sys
import tempfile
from pathlib import Path

from mcp import Client, StdioServerParameters
from mcp.types import Implementation

RECIPE = """
seed = 1
[data]
tokenizer = "char"
mixture = [{ corpus = "tales" }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 120
[optimizer]
lr = 3e-3
[eval]
every = 10
windows = 20
"""

STUDY = {
    "name": "rates",
    "base": "small.toml",
    "hypothesis": {
        "claim": "A small model needs a large rate.",
        "prediction": {"direction": "worse", "effect": 0.5, "confidence": 0.8},
    },
    "decision": {"margin": 0.05, "seeds": 3},
    "arms": {
        "plain": {"control": True},
        "a_third": {"factor": "optimizer.lr", "set": {"optimizer.lr": 1e-3}},
        "tiny": {"factor": "optimizer.lr", "set": {"optimizer.lr": 1e-5}},
    },
}


def text_of(result):
    return "".join(block.text for block in result.content if block.type == "text")


async def call(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    text = text_of(result)
    assert not result.is_error, f"{tool}: {text}"
    assert result.structured_content is None, tool
    assert len(text) < 24_000, f"{tool}: {len(text)} bytes"
    return json.loads(text)


async def wait(client, job_id):
    """Waits for a job, and counts what was told of its progress."""
    told = []

    async def progress(done, total, message):
        told.append((done, total, message))

    while True:
        arguments = {"job_id": job_id, "timeout_s": 30}
        result = await client.call_tool("study_wait", arguments, progress_callback=progress)
        status = json.loads(text_of(result))
        if status["state"] not in ("queued", "running"):
            return status, told


async def plot(client, folder, name, **arguments):
    result = await client.call_tool("plot", arguments)
    words, picture = result.content
    assert picture.mime_type == "image/png", text_of(result)
    png = base64.b64decode(picture.data)
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and max(width, height) <= 2000
    if folder:
        (folder / f"{name}.png").write_bytes(png)
    print(f"  {name}: {width} × {height}, {len(png)} bytes; {words.text.splitlines()[0]}")


async def whole_study(program, mode, folder):
    with tempfile.TemporaryDirectory() as project:
        (Path(project) / "small.toml").write_text(RECIPE)
        server = StdioServerParameters(
            command=program,
            args=["mcp", "--home", "home", "--device", "cpu"],
            cwd=project,
        )
        own = Implementation(name="python-client", version="1")
        async with Client(server, mode=mode, client_info=own, read_timeout_seconds=120) as client:
            print(f"{mode}: speaks {client.protocol_version}")
            tools = (await client.list_tools()).tools
            print(f"  {len(tools)} tools")
            about = await call(client, "capabilities")
            assert "tales" in about["corpora"]["names"]
            await call(client, "study_validate", spec=STUDY)
            plan = await call(client, "study_plan", spec=STUDY)
            job = await call(client, "study_submit", spec=STUDY, idempotency_key="rates-1")
            again = await call(client, "study_submit", spec=STUDY, idempotency_key="rates-1")
            assert again["job_id"] == job["job_id"]
            status, told = await wait(client, job["job_id"])
            assert status["state"] == "done", status
            print(f"  {plan['trials']} trials, {len(told)} reports of progress; {status['verdict']}")
            results = await call(client, "study_results", study=job["job_id"])
            run = results["trials"]["plain"][0]
            curve = await call(client, "run_curve", run=run, what="training_loss", max_points=20)
            assert len(curve["points"]) <= 20
            await plot(client, folder, "differences", id=job["job_id"])
            await plot(client, folder, "curves", id=job["job_id"], figure="curves")
            await plot(client, folder, "run", id=run, what="training_loss")
            await call(client, "run_log_tail", id=job["job_id"])
            await call(client, "compare", first=run, second=results["trials"]["tiny"][0])
            found = await call(client, "literature_search", query="learning rate schedule")
            cited = found["keys"][0]
            words = f"A tiny rate came out at {{{{verdict.tiny.effect}}}} [@{cited}]."
            finding = await call(client, "finding_write", study=results["study"], text=words)
            print(f"  {json.dumps(finding, ensure_ascii=False)[:300]}")
            schema = await client.read_resource("schema://study")
            assert "hypothesis" in schema.contents[0].text
            report = await client.read_resource(f"study://{results['study']}/report")
            assert "tiny: worse" in report.contents[0].text
            misspelt = await client.call_tool("study_status", {"job": "x"})
            assert misspelt.is_error and "job_id" in text_of(misspelt)


async def main():
    program = str(Path(sys.argv[1]).resolve())
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for mode in ("legacy", "2026-07-28", "auto"):
        await whole_study(program, mode, folder)


asyncio.run(main())
