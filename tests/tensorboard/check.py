"""Does TensorBoard read in the event files what `metrics.jsonl` says?

    python -m venv /tmp/tb && /tmp/tb/bin/pip install tensorboard
    target/release/windtunnel --home /tmp/home train configs/recipes/quickstart.toml budget.steps=60
    /tmp/tb/bin/python tests/tensorboard/check.py /tmp/home/runs/*

Reads each run folder with TensorBoard's own EventAccumulator, compares every scalar (tag, step and
value) with `metrics.jsonl`, which it flattens by its own rules, and the recipe's text with
`recipe.toml`. Exits with 1 at the first run that differs.
"""

import json
import struct
import sys
from pathlib import Path

import google.protobuf
import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# The axis, counts that never change, and milliseconds, which appear as a speed.
NOT_SHOWN = {"step", "tokens", "bytes", "ms", "kind", "corpus"}


def flatten(prefix, value):
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from flatten(f"{prefix}/{key}", inner)
        elif key not in NOT_SHOWN and isinstance(inner, (int, float)):
            yield f"{prefix}/{key}", inner


def scalars_of(record):
    kind = record["kind"]
    if kind == "step":
        yield from flatten("train", record)
        yield "train/tokens_per_second", record["tokens"] / record["step"] / record["ms"] * 1e3
    elif kind == "eval":
        groups = {key: record.pop(key, {}) for key in ("val", "ema")}
        yield from flatten("val", record)
        for name, group in groups.items():
            yield from flatten(name, group)
    else:
        for corpus in record["corpora"]:
            yield from flatten(f"data/{corpus['corpus']}", corpus)


def single(value):
    """As the file holds it: a 32-bit float."""
    return struct.unpack("f", struct.pack("f", value))[0]


def expected(folder):
    series = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        step = record["step"]
        for tag, value in scalars_of(record):
            series.setdefault(tag, []).append((step, single(value)))
    return series


def check(folder):
    files = [path for path in folder.iterdir() if "tfevents" in path.name]
    assert len(files) == 1, f"{folder}: {len(files)} event files"
    # 0 keeps every event where the default thins them out.
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    wanted = expected(folder)
    assert set(tags["scalars"]) == set(wanted), set(tags["scalars"]) ^ set(wanted)
    count = 0
    for tag, points in wanted.items():
        events = accumulator.Scalars(tag)
        seen = [(event.step, event.value) for event in events]
        differing = [pair for pair in zip(seen, points) if pair[0] != pair[1]]
        # Speeds are divided in another order here.
        differing = [(a, b) for a, b in differing if a[0] != b[0] or abs(a[1] / b[1] - 1) > 2e-7]
        assert len(seen) == len(points) and not differing, f"{folder}: {tag}: {differing[:3]}"
        times = [event.wall_time for event in events]
        assert times == sorted(times), f"{folder}: {tag}: wall time goes back"
        count += len(seen)
    text = accumulator.Tensors("recipe")[0].tensor_proto.string_val[0].decode()
    recipe = "".join(line[4:] for line in text.splitlines(keepends=True))
    assert recipe == (folder / "recipe.toml").read_text(), f"{folder}: the recipe differs"
    print(f"{folder.name}: {len(wanted)} tags, {count} scalars as in metrics.jsonl")


if __name__ == "__main__":
    folders = [Path(name) for name in sys.argv[1:]]
    if not folders:
        sys.exit(__doc__)
    for folder in folders:
        check(folder)
    versions = [sys.version.split()[0], tensorboard.__version__, google.protobuf.__version__]
    print("Python {}, TensorBoard {}, protobuf {}".format(*versions))
