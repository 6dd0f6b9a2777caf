"""Times windtunnel and nanoGPT's shape on PyTorch in turn on this machine, and prints the ratios.

    python benches/peers/interleave.py --setup .venv-peers              # once: PyTorch from the package index
    python benches/peers/interleave.py --python .venv-peers/bin/python --config a --threads 2 --rounds 5
    python benches/peers/interleave.py --python .venv-peers/bin/python --all --threads 2 --json-file peers.json

Contestants: ours in f32 and in bf16, PyTorch eager and compiled in each. Every round runs each of them once, in
a process of its own, in an order that turns by one place per round, so that a machine that slows down or
warms up slows all of them. Medians over rounds of each process's own median over steps, in tokens per second.
Text on stderr, one JSON object on stdout; --json-file keeps a copy. Needs nothing outside Python's own
library. A contestant that fails is named with its last words, and the others go on.

What both sides get: the same cores (affinity) and number of threads, a warm-up that is not counted, a whole step (draw
windows, forward, backward, clip at 1, AdamW). What PyTorch gets:
  - f32: `set_float32_matmul_precision` stays at "highest". "medium" would let oneDNN round the inputs of products
    to bf16: that is the other number type. --medium times it among the bf16 contestants.
  - bf16: nanoGPT's `torch.autocast("cpu", dtype=torch.bfloat16)`, f32 weights. Ours reads the inputs of linear
    layers' and attention's products in bf16 and keeps all else in f32.
  - AdamW fused, gradients set to None, `scaled_dot_product_attention` with is_causal (flash where dropout is 0;
    with dropout, b, PyTorch has no fused kernel on a CPU), nothing read back from the loss.
  - The allocator that is fastest in a short trial before the rounds: `harness.allocators`. All for the eager
    contestants, the best of those and glibc as it is for the compiled ones.
  - Compilation in the first step, which is not counted and is reported.
Memory is each process's largest resident set as the kernel says it; of PyTorch's, what `import torch` alone takes
is reported too. Its compilers are other processes and are not counted.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from harness import (
    HERE, Failed, allocators, build_step_bench, cores, in_order, machine, peak_gflops, run_pinned, say, warn_if_busy,
)
from shapes import CONFIGS, flops_per_token

PACKAGES = ["torch==2.15.0", "numpy"]
OURS = "windtunnel"


def set_up(folder):
    """A virtual environment with PyTorch, by package names from the configured index (several GB on Linux)."""
    venv.create(folder, with_pip=True)
    python = Path(folder) / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", *PACKAGES], check=True, stdout=sys.stderr)
    say(f"ready: pass --python {python}")


class Contest:
    """One configuration: its contestants, their allocators, and what they measured."""

    def __init__(self, args, config):
        self.args, self.config = args, config
        self.failures = {}
        self.commands = self.contestants()
        self.environments = {name: {} for name in self.commands}
        self.allocators, self.trials = {}, {}

    def contestants(self):
        """Name to command; ours first, f32 before bf16."""
        args = self.args
        shared = ["--config", self.config, "--threads", str(args.threads), "--seconds", str(args.seconds)]
        ours = [*shlex.split(args.ours), *shared]
        peer = [args.python, str(HERE / "nanogpt_cpu.py"), *shared, "--timed-steps", str(args.timed_steps)]
        if args.text:
            peer += ["--text", args.text]
        found = {}
        for dtype, flags in [("f32", []), ("bf16", ["--bf16"])]:
            if dtype not in args.dtypes:
                continue
            passes = ["--rows-per-pass", str(args.rows_per_pass)] if args.rows_per_pass else []
            found[f"{OURS}_{dtype}"] = [*ours, *flags, *passes]
            found[f"torch_eager_{dtype}"] = [*peer, *flags]
            if not args.no_compile:
                found[f"torch_compiled_{dtype}"] = [*peer, *flags, "--compile"]
        if args.medium and "bf16" in args.dtypes:
            found["torch_medium_bf16"] = [*peer, "--medium"]
        return found

    def measure(self, name, extra=(), environment=None):
        """The record of one process; None, and the words kept, if it fails."""
        chosen = self.environments[name] if environment is None else environment
        try:
            record = run_pinned([*self.commands[name], *extra], cores(self.args.threads), chosen)
            if not isinstance(record.get("tokens_per_second"), (int, float)):
                raise Failed(f"{shlex.join(self.commands[name])}: no tokens_per_second in {record}")
            return record
        except Failed as error:
            say(f"{name} FAILED: {error}")
            self.failures.setdefault(name, str(error))
            return None

    def choose_allocators(self):
        """Gives each PyTorch contestant the allocator that is fastest in a short trial of its own."""
        known, ranking = {name: allocators()[name] for name in self.args.allocators}, {}
        for name in [name for name in self.commands if not name.startswith(OURS)]:
            dtype = name.rsplit("_", 1)[1]
            tried = ranking.get(dtype, list(known))
            self.trials[name] = {}
            short = ["--seconds", str(self.args.trial_seconds), "--warmup-steps", "1", "--timed-steps", "1"]
            for allocator in tried * self.args.trial_rounds if len(tried) > 1 else []:
                record = self.measure(name, short, known[allocator])
                if record is not None:
                    rate = record["tokens_per_second"]
                    self.trials[name][allocator] = max(rate, self.trials[name].get(allocator, 0.0))
                    say(f"{self.config} {name} with {allocator}: {rate:,.0f} tokens/s")
            order = sorted(self.trials[name], key=self.trials[name].get, reverse=True) or tried[:1]
            # The compiled ones try the best two of eager, and the first: glibc as it is.
            ranking.setdefault(dtype, list(dict.fromkeys([*order[:2], next(iter(known))])))
            self.allocators[name], self.environments[name] = order[0], known[order[0]]
        # An allocator that fails is out; the contestant goes on with the others.
        self.failures = {name: words for name, words in self.failures.items() if not self.trials.get(name)}

    def run_rounds(self):
        names = [name for name in self.commands if name not in self.failures]
        records = {name: [] for name in names}
        for round_idx in range(self.args.rounds):
            for name in in_order(names, round_idx):
                record = None if name in self.failures else self.measure(name)
                if record is not None:
                    records[name].append(record)
                    where = f"{self.config} round {round_idx + 1}/{self.args.rounds}"
                    say(f"{where} {name:20} {record['tokens_per_second']:12,.1f} tokens/s")
        # One that failed in some round has no part in ratios.
        return {name: found for name, found in records.items() if name not in self.failures}


def summary(contest, records, peak):
    """Medians, extremes, share of the peak, memory; and our ratio to the best PyTorch of each number type."""
    model, n_seq = CONFIGS[contest.config]
    flops = flops_per_token(model)
    table = {}
    for name, found in records.items():
        rates = [record["tokens_per_second"] for record in found]
        dtype, median = name.rsplit("_", 1)[1], statistics.median(rates)
        table[name] = {
            "median": median,
            "lowest": min(rates),
            "highest": max(rates),
            "all": rates,
            "gflops": median * flops / 1e9,
            "share_of_peak": median * flops / 1e9 / peak[dtype] if dtype in peak else None,
            "peak_rss_mb": max(record["peak_rss_mb"] for record in found),
            "imported_rss_mb": max((record.get("imported_rss_mb", 0.0) for record in found)),
            "first_step_seconds": [record.get("first_step_seconds") for record in found],
            "allocator": contest.allocators.get(name),
        }
    return {
        "config": contest.config,
        "flops_per_token": flops,
        "peak_gflops": peak,
        "tokens_per_step": n_seq * model.block_size,
        "commands": {name: shlex.join(command) for name, command in contest.commands.items()},
        "environments": contest.environments,
        "allocator_trials": contest.trials,
        "contestants": table,
        "failures": contest.failures,
        "ratios": [ratio for dtype in contest.args.dtypes if (ratio := ratio_of(table, dtype))],
    }


def ratio_of(table, dtype):
    """Ours to the best PyTorch of one number type: of medians, round by round, and in memory."""
    peers = [name for name in table if not name.startswith(OURS) and name.endswith(dtype)]
    ours = table.get(f"{OURS}_{dtype}")
    if ours is None or not peers:
        return None
    best = max(peers, key=lambda name: table[name]["median"])
    by_round = [mine / theirs for mine, theirs in zip(ours["all"], table[best]["all"])]
    leanest = min(table[name]["peak_rss_mb"] for name in peers)
    return {
        "dtype": dtype,
        "best_peer": best,
        "ratio_of_medians": ours["median"] / table[best]["median"],
        "ratio_lowest_round": min(by_round),
        "ratio_highest_round": max(by_round),
        "memory_of_best_peer": ours["peak_rss_mb"] / table[best]["peak_rss_mb"],
        "memory_of_leanest_peer": ours["peak_rss_mb"] / leanest,
    }


def show(result):
    peak = ", ".join(f"{dtype} {gflops:.0f}" for dtype, gflops in sorted(result["peak_gflops"].items(), reverse=True))
    say(f"\n{result['config']}: {result['flops_per_token'] / 1e6:.2f} MFLOPs/token, peak in GFLOP/s: {peak or 'unknown'}")
    say(f"{'':20} {'tokens/s':>10} {'lowest':>10} {'highest':>10} {'of peak':>8} {'MB':>7} {'1st step':>9}  allocator")
    for name, row in result["contestants"].items():
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        first = [seconds for seconds in row["first_step_seconds"] if seconds is not None]
        took = f"{max(first):.1f} s" if first else ""
        rates = " ".join(f"{row[key]:10,.1f}" for key in ("median", "lowest", "highest"))
        say(f"{name:20} {rates} {share:>8} {row['peak_rss_mb']:7,.0f} {took:>9}  {row['allocator'] or ''}")
    for name in result["failures"]:
        say(f"{name:20} FAILED (its words are above and in the JSON)")
    for ratio in result["ratios"]:
        say(
            f"{ratio['dtype']}: {ratio['ratio_of_medians']:.2f} times {ratio['best_peer']} "
            f"({ratio['ratio_lowest_round']:.2f} to {ratio['ratio_highest_round']:.2f} by round) "
            f"in {ratio['memory_of_best_peer']:.0%} of its memory ({ratio['memory_of_leanest_peer']:.0%} of the leanest)"
        )


# Defaults by configuration. A step of b or c takes seconds: there the number of timed steps rules. Of an
# allocator's trials the best counts: it is the one that was disturbed least.
PACE = {
    "a": {"seconds": 10.0, "rounds": 5, "trial_seconds": 2.0, "trial_rounds": 2},
    "b": {"seconds": 1.0, "rounds": 3, "trial_seconds": 0.0, "trial_rounds": 1},
    "c": {"seconds": 1.0, "rounds": 3, "trial_seconds": 0.0, "trial_rounds": 1},
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--setup", metavar="DIR", help="create a virtual environment with PyTorch and stop")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument(
        "--ours", metavar="COMMAND",
        help="our step bench, built, or another command that takes --config --threads --seconds [--bf16]\n"
        "and prints tokens_per_second in JSON (default: the one that cargo builds)",
    )
    parser.add_argument("--config", default="a", choices=CONFIGS)
    parser.add_argument("--all", action="store_true", help="a, b and c, one after the other")
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="timed part of each process (default: by configuration)")
    parser.add_argument("--timed-steps", type=int, default=3, help="PyTorch's steps in it, at least (ours: 3)")
    parser.add_argument("--rounds", type=int, help="default: by configuration")
    parser.add_argument("--rows-per-pass", type=int, help="sequences in one of our forward passes (default: all)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (no C++ compiler)")
    parser.add_argument("--medium", action="store_true", help="also f32 with set_float32_matmul_precision('medium')")
    parser.add_argument(
        "--allocators", nargs="+", choices=allocators(), default=list(allocators()), metavar="NAME",
        help=f"PyTorch's to choose from; one alone needs no trial (default: {' '.join(allocators())})",
    )
    parser.add_argument("--trial-seconds", type=float, help="timed part of an allocator's trial")
    parser.add_argument("--trial-rounds", type=int, help="trials of each allocator")
    parser.add_argument("--text", help="path of tiny Shakespeare for PyTorch's side")
    parser.add_argument("--json-file", help="also write the JSON here")
    args = parser.parse_args()
    for name in ("threads", "rounds", "timed_steps", "trial_rounds", "rows_per_pass"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} is {value}; it must be 1 or more")
    if args.threads > len(os.sched_getaffinity(0)):
        parser.error(f"--threads is {args.threads}; this process may use {len(os.sched_getaffinity(0))} cores")
    return args


def compete(args, config):
    """One configuration from the allocators' trials to its table; the peak is the better of before and after."""
    written = {name: value for name, value in vars(args).items() if value is not None}
    settings = argparse.Namespace(**vars(args) | PACE[config] | written)
    contest = Contest(settings, config)
    contest.choose_allocators()
    before = peak_gflops(args.threads)
    records = contest.run_rounds()
    after = peak_gflops(args.threads)
    peak = {dtype: max(before[dtype], after[dtype]) for dtype in before.keys() & after.keys()}
    result = summary(contest, records, peak)
    show(result)
    return result | {"seconds": settings.seconds, "rounds": settings.rounds}


def main():
    args = parse()
    if args.setup:
        set_up(args.setup)
        return
    args.ours = args.ours or shlex.quote(build_step_bench())
    before = machine()
    warn_if_busy(before)
    result = {"schema": "windtunnel.peers.v2", "machine": before, "threads": args.threads, "configs": []}
    try:
        for config in CONFIGS if args.all else [args.config]:
            result["configs"].append(compete(args, config))
    except KeyboardInterrupt:
        say("interrupted; what was finished follows")
    before["load_average_1m_after"] = os.getloadavg()[0]
    say(f"\n{args.threads} threads, {before['cpu']}")
    packed = json.dumps(result, indent=2)
    print(packed)
    if args.json_file:
        Path(args.json_file).write_text(packed + "\n")
    if any(config["failures"] for config in result["configs"]):
        sys.exit(4)


if __name__ == "__main__":
    main()
