"""Races a whole study, start to verdict, against a shell loop over nanoGPT on PyTorch.

    python benches/peers/interleave.py --setup .venv-peers              # once
    python benches/peers/study.py --python .venv-peers/bin/python [--text tinyshakespeare.txt]

2 arms × 6 seeds of nanoGPT's CPU run (configuration a) for 500 steps on tiny Shakespeare:
  - ours: `windtunnel run configs/studies/shakespeare_cpu_lr.toml` in a fresh home, from reading the text to the
    report; once before and once after PyTorch's, and the mean counts;
  - PyTorch's: twelve processes one after the other, as in `for lr … for seed …; do python train.py`: the same
    text, rates, steps and tokens, and one evaluation of the whole last tenth at the end (ours: of the last 7%, the rest
    of that tenth being the locked test part). Eager or compiled, whichever is faster for one whole run, tried first;
    what that compiled stays in its cache, so none of the twelve compiles anew. With the allocator that is fastest in a
    short trial;
  - and PyTorch's once more, as one who knows the machine would write it (`xargs -P`): as many processes side by side
    as there are cores, one thread each. The ratio that counts is the plain loop's; this one is told beside it.

Text on stderr, one JSON object on stdout. Needs nothing outside Python's own library.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from harness import HERE, ROOT, Failed, allocators, build_binary, cores, machine, run_pinned, say, warn_if_busy

STUDY = ROOT / "configs" / "studies" / "shakespeare_cpu_lr.toml"
FIRST_SEED, RATES = 1337, {"tuned": 1e-3, "third": 3.3e-4}  # As in the study's file.
CORPUS = "tinyshakespeare"


def fetched_text(args, folder):
    """Path of the text: the one given, or what our `data fetch` brings."""
    if args.text:
        return Path(args.text).resolve()
    command = [args.ours, "data", "fetch", CORPUS, "--home", str(folder), "--json"]
    run_pinned(command, cores(args.threads))
    return next(folder.rglob(f"{CORPUS}.txt"))


def our_study(args, text):
    """One run of the study in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        command = [args.ours, "run", str(STUDY), "--home", home, "--json", *args.our_flags]
        command += [f"decision.seeds={args.seeds}"] if args.seeds != 6 else []
        command += [f"budget.steps={args.steps}"] if args.steps != 500 else []
        record = run_pinned(command, cores(args.threads), {"WINDTUNNEL_MIRROR": str(text.parent)})
    arm = record["verdict"]["arms"][0]
    return {
        "wall_seconds": record["wall_seconds"],
        "peak_rss_mb": record["peak_rss_mb"],
        "verdict": arm["call"],
        "losses": {"tuned": [p["control"] for p in arm["pairs"]], "third": [p["arm"] for p in arm["pairs"]]},
    }


class ShellLoop:
    """nanoGPT's runs, each a process of its own."""

    def __init__(self, args, text):
        self.args, self.text = args, text
        self.environment, self.flags = {}, []

    def command(self, arm, seed, n_threads):
        script = [self.args.python, str(HERE / "nanogpt_cpu.py"), "--full", "--text", str(self.text)]
        run = ["--steps", str(self.args.steps), "--lr", str(RATES[arm]), "--seed", str(seed), "--threads", str(n_threads)]
        return [*script, *run, *self.flags]

    def tune(self):
        """Chooses the allocator by steps per second, then eager or compiled by one whole run of each."""
        steps = [self.args.python, str(HERE / "nanogpt_cpu.py"), "--threads", str(self.args.threads), "--seconds"]
        known, rates = allocators(), {}
        if self.args.allocator:
            known = {self.args.allocator: known[self.args.allocator]}
        for name in list(known) * (2 if len(known) > 1 else 1):
            try:
                record = run_pinned([*steps, str(self.args.trial_seconds)], cores(self.args.threads), known[name])
                rates[name] = max(record["tokens_per_second"], rates.get(name, 0.0))
            except Failed as error:
                say(f"allocator {name} is out: {error}")
        if not rates:
            raise Failed("PyTorch fails with every allocator; its words are above")
        allocator = max(rates, key=rates.get)
        self.environment = known[allocator]
        whole = {}
        for kind, flags in {"eager": [], "compiled": ["--compile"]}.items():
            self.flags = flags
            try:
                # The compiled one twice: the first fills the compiler's cache, which the loop finds full.
                for _ in range(1 + len(flags)):
                    whole[kind] = self.one(("tuned", FIRST_SEED), cores(self.args.threads))["wall_seconds"]
                say(f"one run of PyTorch, {kind}, with {allocator}: {whole[kind]:.1f} s")
            except Failed as error:
                say(f"PyTorch {kind} is out: {error}")
        if not whole:
            raise Failed("PyTorch fails eager and compiled; its words are above")
        kind = min(whole, key=whole.get)
        self.flags = ["--compile"] if kind == "compiled" else []
        return {"allocator": allocator, "allocator_trials": rates, "kind": kind, "whole_run_seconds": whole}

    def one(self, run, on_cores):
        return run_pinned(self.command(*run, len(on_cores)), on_cores, self.environment)

    def loop(self, n_side_by_side):
        """All runs, so many at a time; the cores are shared out among them."""
        runs = [(arm, FIRST_SEED + i) for arm in RATES for i in range(self.args.seeds)]
        all_cores, free = cores(self.args.threads), SimpleQueue()
        for i in range(n_side_by_side):
            free.put(all_cores[i::n_side_by_side])

        def next_run(run):
            mine = free.get()
            try:
                return self.one(run, mine)
            finally:
                free.put(mine)

        started = time.perf_counter()
        with ThreadPoolExecutor(n_side_by_side) as pool:
            records = list(pool.map(next_run, runs))
        losses = [record["validation_loss_nats"] for record in records]
        return {
            "wall_seconds": time.perf_counter() - started,
            "side_by_side": n_side_by_side,
            # Of all that run at once: the sum of the largest.
            "peak_rss_mb": sum(sorted(record["peak_rss_mb"] for record in records)[-n_side_by_side:]),
            "losses": {"tuned": losses[: self.args.seeds], "third": losses[self.args.seeds :]},
        }


def show(result):
    ours, loop, both = result["ours"], result["loop"], result["loop_side_by_side"]
    rows = [(f"windtunnel, run {i + 1}: {run['verdict']}", run) for i, run in enumerate(ours)]
    rows.append((f"shell loop, PyTorch {result['tuning']['kind']}, {result['tuning']['allocator']}", loop))
    if both:
        rows.append((f"the same, {both['side_by_side']} side by side", both))
    say(f"\n{'':52} {'seconds':>8} {'MB':>7} {'loss':>7} {'third':>7}")
    for name, row in rows:
        losses = " ".join(f"{statistics.mean(row['losses'][arm]):7.3f}" for arm in RATES)
        say(f"{name:52} {row['wall_seconds']:8.1f} {row['peak_rss_mb']:7,.0f} {losses}")
    say(f"{result['ratio']:.2f} times as fast as the loop, in {result['memory']:.0%} of its memory")
    if both:
        say(f"{result['ratio_side_by_side']:.2f} times as fast as the loop side by side")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--ours", help="our binary (default: the one that cargo builds)")
    parser.add_argument("--our-flags", type=shlex.split, default=[], help="further flags and overrides of our run")
    parser.add_argument("--text", help="tinyshakespeare.txt (default: fetched by our `data fetch`)")
    parser.add_argument("--threads", type=int, default=2, help="cores for either side")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--allocator", choices=allocators(), help="no trial: this one for PyTorch")
    parser.add_argument("--trial-seconds", type=float, default=2.0, help="timed part of an allocator's trial")
    parser.add_argument("--no-side-by-side", action="store_true", help="the plain loop alone")
    parser.add_argument("--json-file", help="also write the JSON here")
    args = parser.parse_args()
    for name in ("threads", "seeds", "steps"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; it must be 1 or more")
    if args.threads > len(os.sched_getaffinity(0)):
        parser.error(f"--threads is {args.threads}; this process may use {len(os.sched_getaffinity(0))} cores")
    return args


def race(args, folder):
    """Ours, PyTorch's loop, ours again; then the loop side by side."""
    text = fetched_text(args, folder)
    shell = ShellLoop(args, text)
    tuning = shell.tune()
    ours = [our_study(args, text)]
    loop = shell.loop(1)
    ours.append(our_study(args, text))
    both = None if args.no_side_by_side or args.threads == 1 else shell.loop(args.threads)
    mean_s = statistics.mean(run["wall_seconds"] for run in ours)
    return {
        "tuning": tuning,
        "ours": ours,
        "loop": loop,
        "loop_side_by_side": both,
        "ratio": loop["wall_seconds"] / mean_s,
        "ratio_side_by_side": both and both["wall_seconds"] / mean_s,
        "memory": max(run["peak_rss_mb"] for run in ours) / loop["peak_rss_mb"],
    }


def main():
    args = parse()
    args.ours = args.ours or build_binary()
    before = machine()
    warn_if_busy(before)
    settings = {"schema": "windtunnel.peer_study.v1", "machine": before}
    settings |= {name: getattr(args, name) for name in ("threads", "seeds", "steps")}
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = settings | race(args, Path(folder))
    except Failed as error:
        sys.exit(f"no race: {error}")
    show(result)
    packed = json.dumps(result, indent=2)
    print(packed)
    if args.json_file:
        Path(args.json_file).write_text(packed + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
