"""Does `windtunnel plan` say beforehand what a study takes? Predicted against spent, for ten studies.

    cargo build --release
    python3 benches/estimates.py                  # about seven minutes on two cores, on a quiet machine
    python3 benches/estimates.py --set tuning     # the studies that the predictor was tuned on

For each study a fresh home: `plan --json`, which times a few steps, then `run`. Minutes are the whole
process's, from its start to its report; memory is its largest resident set, as the system counted it.
The predictor was tuned on the studies of the set "tuning" alone; those of "held_out" were written beforehand
and not looked at until it was done. Text on stderr, one JSON object on stdout. Needs nothing outside Python's
own library, and no network. Exit status 1 when an estimate is further off than --bound.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TALES = [("tales", 1.0)]
BOTH = [("tales", 1.0), ("sums", 1.0)]


def study(name, model, rows, steps, **other):
    """A study of two rates; `other` says what is unusual about it."""
    return {"name": name, "model": model, "rows": rows, "steps": steps} | other


def shape(layers, heads, width, block, **other):
    return {"n_layer": layers, "n_head": heads, "n_embd": width, "block_size": block} | other


HELD_OUT = [
    study("tiny", shape(2, 4, 64, 64), 16, 900, corpora=BOTH, seeds=3),
    study("long_t", shape(2, 4, 64, 512), 4, 330, seeds=2, eval={"every": 100, "windows": 40}),
    study("short_t", shape(4, 4, 128, 32), 32, 260, seeds=2),
    study("mid_dropout", shape(6, 6, 384, 256, dropout=0.2), 8, 9, seeds=2, eval={"every": 0, "windows": 12}),
    study("bpe_vocabulary", shape(4, 4, 128, 128), 8, 130, seeds=2, bpe=3000, eval={"every": 50, "windows": 60}),
    study("bf16", shape(4, 4, 256, 128), 12, 70, seeds=2, dtype="bf16", eval={"every": 30, "windows": 60}),
    study(
        "muon_modern",
        shape(4, 4, 128, 64, norm="rms", activation="swiglu", positions="rotary"),
        12, 200, seeds=2, optimizer={"kind": "muon", "lr": 0.02, "adamw_lr": 0.002},
    ),
    study(
        "ema_eval_heavy", shape(3, 4, 96, 64), 12, 160, seeds=2, corpora=BOTH,
        eval={"every": 20, "windows": 0, "ema": 0.99},
    ),
    study("accumulation_threads", shape(4, 8, 192, 128), 32, 45, seeds=2, rows_per_pass=8, jobs=1, eval={"every": 20, "windows": 80}),
    study("uneven_answers", shape(3, 4, 96, 96), 10, 330, seeds=3, arms=3, corpora=[("facts", 1.0)], eval={"every": 150, "windows": 0}),
]

TUNING = [
    study("t_tiny", shape(2, 2, 48, 48), 12, 1200, seeds=3),
    study("t_config_a", shape(4, 4, 128, 64), 12, 220, seeds=2),
    study("t_uneven", shape(2, 4, 80, 96), 8, 400, seeds=3, arms=3, corpora=[("programs", 1.0)]),
    study("t_wide", shape(4, 4, 320, 128, dropout=0.1), 8, 25, seeds=2, eval={"every": 10, "windows": 40}),
    study("t_eval", shape(2, 4, 64, 64), 8, 200, seeds=2, corpora=BOTH, eval={"every": 25, "windows": 0, "ema": 0.9}),
]

SETS = {"held_out": HELD_OUT, "tuning": TUNING}


def toml(table):
    """One inline table."""
    def value(x):
        return ("true" if x else "false") if isinstance(x, bool) else json.dumps(x)
    return "{ " + ", ".join(f"{key} = {value(x)}" for key, x in table.items()) + " }"


def write(folder, s):
    """The recipe and the study as files."""
    mixture = ", ".join(toml({"corpus": name, "weight": weight}) for name, weight in s.get("corpora", TALES))
    batch = {"rows": s["rows"]} | ({"rows_per_pass": s["rows_per_pass"]} if "rows_per_pass" in s else {})
    recipe = [
        f"data = {{ tokenizer = {json.dumps('pieces' if 'bpe' in s else 'char')}, mixture = [{mixture}] }}",
        f"model = {toml(s['model'])}",
        f"batch = {toml(batch)}",
        f"budget = {toml({'steps': s['steps']})}",
        f"optimizer = {toml(s.get('optimizer', {'lr': 0.002}))}",
        f"eval = {toml(s.get('eval', {'every': 100, 'windows': 100}))}",
    ]
    (folder / "recipe.toml").write_text("\n".join(recipe) + "\n")
    text = [
        f"name = {json.dumps(s['name'])}",
        'base = "recipe.toml"',
        '[hypothesis]\nclaim = "A predictor is right about this study."',
        f"[decision]\nmargin = 1.0\nseeds = {s['seeds']}",
        "[arms.arm_0]\ncontrol = true",
    ]
    for arm in range(1, s.get("arms", 2)):
        lr = s.get("optimizer", {"lr": 0.002})["lr"] / 2**arm
        text.append(f'[arms.arm_{arm}]\nfactor = "optimizer.lr"\nset = {{ "optimizer.lr" = {lr} }}')
    (folder / "study.toml").write_text("\n".join(text) + "\n")


def spend(command, folder):
    """Runs a command: what it printed, its seconds, and the most bytes it held."""
    started = time.monotonic()
    with open(folder / "stdout", "w") as out, open(folder / "stderr", "w") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status != 0:
        sys.exit(f"{' '.join(command)}: status {status}\n{(folder / 'stderr').read_text()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return json.loads((folder / "stdout").read_text()), seconds, usage.ru_maxrss * unit


def measure(binary, s):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, s)
        flags = ["--home", "home", "--json", "--dtype", s.get("dtype", "f32")]
        if "bpe" in s:
            spend([binary, "tokenizer", "train", "pieces", "--vocab-size", str(s["bpe"]), "--corpora", "tales", "--home", "home", "--json"], folder)
        sides = ["--jobs", str(s["jobs"])] if "jobs" in s else []
        plan, plan_seconds, _ = spend([binary, "plan", "study.toml", *sides, *flags], folder)
        run, run_seconds, held = spend([binary, "run", "study.toml", *sides, *flags], folder)
        return {
            "study": s["name"],
            "jobs": plan["jobs"],
            "threads": plan["threads"],
            "plan_seconds": plan_seconds,
            "predicted_seconds": 60 * plan["minutes"],
            "spent_seconds": run_seconds,
            "time_ratio": 60 * plan["minutes"] / run_seconds,
            "uncertainty": plan["basis"]["uncertainty"],
            "predicted_bytes": plan["memory_bytes"],
            "spent_bytes": held,
            "memory_ratio": plan["memory_bytes"] / held,
            "stretches": run["stretches"],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "windtunnel"))
    parser.add_argument("--set", default="held_out", choices=SETS)
    parser.add_argument("--only", help="studies by name, with commas between")
    parser.add_argument("--bound", type=float, default=0.15, help="how far off an estimate may be (default: 0.15)")
    parser.add_argument("--json-file", help="also write the JSON here")
    args = parser.parse_args()
    binary = str(Path(args.binary).resolve())
    if not Path(binary).exists():
        parser.error(f"--binary {binary}: no such file; build it with cargo build --release")
    chosen = SETS[args.set]
    if args.only:
        names = args.only.split(",")
        unknown = set(names) - {s["name"] for s in chosen}
        if unknown:
            parser.error(f"--only: no study of the set is called {', '.join(sorted(unknown))}")
        chosen = [s for s in chosen if s["name"] in names]
    print(f"{'study':22} {'side by side':>12} {'predicted':>10} {'spent':>8} {'ratio':>6}   {'predicted':>10} {'spent':>8} {'ratio':>6}", file=sys.stderr)
    rows = []
    for s in chosen:
        r = measure(binary, s)
        rows.append(r)
        print(
            f"{r['study']:22} {r['jobs']:>8} × {r['threads']} {r['predicted_seconds']:>8.1f} s {r['spent_seconds']:>6.1f} s {r['time_ratio']:>6.2f}"
            f"   {r['predicted_bytes'] / 2**20:>6.0f} MiB {r['spent_bytes'] / 2**20:>4.0f} MiB {r['memory_ratio']:>6.2f}",
            file=sys.stderr, flush=True,
        )
    off = [r["study"] for r in rows if max(abs(r["time_ratio"] - 1), abs(r["memory_ratio"] - 1)) > args.bound]
    print(f"{len(rows) - len(off)} of {len(rows)} within {100 * args.bound:.0f}% in time and memory" + (f"; not: {', '.join(off)}" if off else ""), file=sys.stderr)
    packed = json.dumps({"schema": "windtunnel.estimates.v1", "set": args.set, "machine": platform.platform(), "cores": os.cpu_count(), "bound": args.bound, "studies": rows}, indent=2)
    print(packed)
    if args.json_file:
        Path(args.json_file).write_text(packed + "\n")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
