"""What goes wrong, tried from outside: no device, a recipe that does not fit, a process that is killed.

A device that vanishes in the middle can't be had from outside; the tests that `parity` runs have one that fails.
"""

import json
import math
import re
import tempfile
import time
from pathlib import Path

from process import ROOT, NoTime, end
from report import FAILED, OK, SKIPPED, Row

PART = "faults"
RECIPE = ROOT / "configs" / "recipes" / "quickstart.toml"  # On built-in corpora: needs no file.
TINY = ["model.n_layer=1", "model.n_embd=64", "model.n_head=2", "model.block_size=64", "batch.rows=8"]
HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
AMOUNT = re.compile(r"\d[\d.,]* ?[KMGT]i?B\b")


def check(at):
    tries = [
        ("no device is visible: --device cuda ends with status 2", no_device),
        ("no device is visible: --device auto takes the CPU and says so", auto_takes_the_cpu),
        ("there is no such device: --device cuda:99 ends with status 2", no_such_device),
        ("a recipe larger than the device is refused with numbers", too_large),
        ("killed in the middle and taken up again: the same numbers", killed_and_resumed),
    ]
    rows = []
    for name, attempt in tries:
        with tempfile.TemporaryDirectory() as home:
            try:
                rows.append(row_of(name, attempt(at, Path(home))))
            except NoTime as lack:
                rows.append(Row.without(PART, name, SKIPPED, f"no time: {lack}"))
    return rows


def row_of(name, answer):
    """`answer` is a state, a reason or None, and what else to keep."""
    state, reason, detail = answer
    return Row.without(PART, name, state, reason, detail)


def train(at, home, overrides, flags, recipe=RECIPE):
    return [at.windtunnel, "train", recipe, *overrides, "--home", home, "--json", *flags]


def limit_of(at, wanted_s):
    return min(at.clock.limit(wanted_s, 2.0), at.part_limit(PART))


def without_cuda(at):
    """What to say of a binary that does not know CUDA devices, or None."""
    if at.versions.get("cuda_compiled") is False:
        state = SKIPPED if at.smoke else FAILED
        return state, "this binary was built without CUDA: benches/gpu/build.sh builds one with it", {}
    return None


def refused_device(at, home, device, environment):
    """Status 2, and an error that names the option."""
    if lack := without_cuda(at):
        return lack
    command = train(at, home, [*TINY, "budget.steps=2"], ["--device", device])
    done = at.shell.run(command, limit_of(at, 20), environment)
    said = f"{done.record.get('place')}: {done.record.get('problem')}"
    if done.status == 2 and str(done.record.get("place")).startswith("--device cuda"):
        return OK, None, {"said": said}
    return FAILED, f"status 2 and an error at --device were due: {done.words()}", {}


def no_device(at, home):
    return refused_device(at, home, "cuda", HIDDEN)


def no_such_device(at, home):
    return refused_device(at, home, "cuda:99", {})


def auto_takes_the_cpu(at, home):
    if lack := without_cuda(at):
        return lack
    done = at.shell.run(train(at, home, [*TINY, "budget.steps=2"], ["--device", "auto"]), limit_of(at, 60), HIDDEN)
    if done.status == 0 and done.record.get("state") == "finished" and "using the CPU" in done.err:
        said = next(line for line in done.err.splitlines() if "using the CPU" in line)
        return OK, None, {"said": said}
    return FAILED, f"status 0 and a remark that the CPU is used were due: {done.words()}", {}


def oversize(memory_bytes):
    """Overrides that make a model whose weights, gradients and moments alone are more than the device holds.

    Of each weight there are four numbers of f32: itself, its gradient, two moments. A block of width C has 12·C².

    >>> oversize(144 << 30)
    ['model.n_layer=14', 'model.n_embd=8192', 'model.n_head=64', 'batch.rows=1', 'budget.steps=2']
    """
    width = 8192
    n_layer = math.ceil(1.1 * memory_bytes / (16 * 12 * width**2))
    return [f"model.n_layer={n_layer}", f"model.n_embd={width}", f"model.n_head={width // 128}", "batch.rows=1", "budget.steps=2"]


def too_large(at, home):
    if at.smoke:
        return SKIPPED, "smoke: it is the device's memory that is to be too small", {}
    if at.no_device:
        return FAILED, at.no_device, {}
    if not at.memory_bytes:
        return FAILED, "nvidia-smi does not say how much memory the device has", {}
    done = at.shell.run(train(at, home, oversize(at.memory_bytes), at.flags), limit_of(at, 30))
    said = f"{done.record.get('place')}: {done.record.get('problem')}"
    if done.status in (3, 4) and AMOUNT.search(said):
        return OK, None, {"said": said, "seconds": done.seconds}
    return FAILED, f"status 3 or 4 and how much memory it takes were due: {done.words()}", {}


def killed_and_resumed(at, home):
    if at.no_device:
        return FAILED, at.no_device, {}
    steps, every = (120, 10) if at.smoke else (4000, 100)
    overrides = [*TINY, f"budget.steps={steps}", f"checkpoint.every={every}", f"eval.every={5 * every}"]
    whole = at.shell.run(train(at, home / "whole", overrides, at.flags), limit_of(at, 60))
    if whole.status != 0:
        return FAILED, f"the run that nobody kills: {whole.words()}", {}
    command = train(at, home / "killed", overrides, at.flags)
    killed_at = kill_after(at, command, home / "killed", 3 * every)
    if killed_at is None:
        return FAILED, f"it ended, or wrote no checkpoint in its time, before it could be killed at step {3 * every}", {}
    resumed = at.shell.run(command, limit_of(at, 60))
    if resumed.status != 0:
        return FAILED, f"taken up again after step {killed_at}: {resumed.words()}", {}
    differs = first_difference(numbers(home / "whole"), numbers(home / "killed"))
    if differs:
        return FAILED, f"killed after step {killed_at} of {steps}; {differs}", {}
    return OK, None, {"killed_after_step": killed_at, "steps": steps}


def kill_after(at, command, home, step):
    """Kills the process when it has saved this step; gives the newest that it saved, or None if it ended before."""
    with tempfile.TemporaryFile("w+") as sink:
        process = at.shell.start(command, sink, sink)
        stop_at = time.monotonic() + limit_of(at, 60)
        try:
            while process.poll() is None and time.monotonic() < stop_at:
                if saved := [n for n in saved_steps(home) if n >= step]:
                    end(process)
                    return max(saved) if process.returncode < 0 else None
                time.sleep(0.005)
        finally:
            end(process)
    return None


def saved_steps(home):
    return [int(path.stem.rsplit("-", 1)[1]) for path in home.glob("runs/*/checkpoints/step-*.safetensors")]


def numbers(home):
    """The records of a home's only run, without what a clock said."""
    (path,) = home.glob("runs/*/metrics.jsonl")
    return [strip(json.loads(line)) for line in path.read_text().splitlines()]


def strip(record):
    """
    >>> strip({"kind": "step", "loss": 1.5, "ms": 3.2})
    {'kind': 'step', 'loss': 1.5}
    """
    return {key: value for key, value in record.items() if key != "ms"}


def first_difference(whole, resumed):
    """
    >>> first_difference([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}])
    "record 2: {'a': 3} instead of {'a': 2}"
    >>> first_difference([{"a": 1}], [])
    '0 records instead of 1'
    >>> first_difference([{"a": 1}], [{"a": 1}])
    """
    for i, (one, other) in enumerate(zip(whole, resumed)):
        if one != other:
            return f"record {i + 1}: {other} instead of {one}"
    if len(whole) != len(resumed):
        return f"{len(resumed)} records instead of {len(whole)}"
    return None
