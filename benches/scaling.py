"""Does the cost of a token grow no faster than its FLOPs? Our step bench over widths and over context lengths.

    python benches/scaling.py [--threads 2] [--seconds 3] [--bf16] [--step PATH_OF_A_BUILT_STEP_BENCH]

Widths 64 to 1024 (2 layers, heads of 64, T 256), then T 64 to 4096 (2 layers, width 256), with 4,096 tokens a step and a vocabulary of 65.
FLOPs per token are 6·P + 12·L·C·T (`benches/peers/shapes.py`); the processor's peak is `benches/peers/peak.c`'s. `growth`
is how the cost grew from the line before, over how the FLOPs grew: at most 1 where nothing is lost. Table on
stderr, one JSON object on stdout. Needs nothing outside Python's own library.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from harness import Failed, build_step_bench, cores, in_order, machine, peak_gflops, run_pinned, say, warn_if_busy  # noqa: E402
from shapes import Config, flops_per_token  # noqa: E402

N_LAYER, HEAD_WIDTH, VOCAB, TOKENS_PER_STEP = 2, 64, 65, 4096
WIDTHS, FIXED_BLOCK = [64, 128, 256, 512, 1024], 256
BLOCKS, FIXED_WIDTH = [64, 128, 256, 512, 1024, 2048, 4096], 256


def shape(width, block):
    return Config(n_layer=N_LAYER, n_head=width // HEAD_WIDTH, n_embd=width, block_size=block, vocab_size=VOCAB)


SWEEPS = {
    f"width, at T {FIXED_BLOCK}": [shape(width, FIXED_BLOCK) for width in WIDTHS],
    f"T, at width {FIXED_WIDTH}": [shape(FIXED_WIDTH, block) for block in BLOCKS],
}


def step_command(args, config):
    sizes = {
        "--n-layer": config.n_layer,
        "--n-head": config.n_head,
        "--n-embd": config.n_embd,
        "--block": config.block_size,
        "--vocab": config.vocab_size,
        "--rows": TOKENS_PER_STEP // config.block_size,
    }
    command = [args.step, "--threads", str(args.threads), "--seconds", str(args.seconds)]
    command += [str(word) for pair in sizes.items() for word in pair]
    return command + (["--bf16"] if args.bf16 else [])


def measure(args):
    """Every shape once a round, in turning order: tokens per second of each by round, and memory."""
    shapes = list(dict.fromkeys(config for sweep in SWEEPS.values() for config in sweep))
    rates, memory = {config: [] for config in shapes}, {}
    for round_idx in range(args.rounds):
        for config in in_order(shapes, round_idx):
            record = run_pinned(step_command(args, config), cores(args.threads))
            rates[config].append(record["tokens_per_second"])
            memory[config] = max(record["peak_rss_mb"], memory.get(config, 0.0))
    return rates, memory


def rows_of(sweep, measured, peak):
    """One row a shape: what a token costs, and how that grew against its FLOPs."""
    rates, memory = measured
    rows = []
    for config in sweep:
        flops, rate = flops_per_token(config), statistics.median(rates[config])
        row = asdict(config) | {
            "flops_per_token": flops,
            "ns_per_token": 1e9 / rate,
            "tokens_per_second": rates[config],
            "gflops": flops * rate / 1e9,
            "share_of_peak": flops * rate / 1e9 / peak if peak else None,
            "peak_rss_mb": memory[config],
            "growth": None,
        }
        if rows:
            before = rows[-1]
            cost = row["ns_per_token"] / before["ns_per_token"]
            row["growth"] = cost / (flops / before["flops_per_token"])
        rows.append(row)
    return rows


def show(name, rows):
    say(f"\nBy {name}:\n")
    say("| width | T | kFLOPs/token | ns/token | GFLOP/s | share of peak | growth |\n|---|---|---|---|---|---|---|")
    for row in rows:
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        growth = "" if row["growth"] is None else f"{row['growth']:.2f}"
        say(
            f"| {row['n_embd']} | {row['block_size']} | {row['flops_per_token'] / 1e3:,.0f} | {row['ns_per_token']:,.0f} "
            f"| {row['gflops']:.0f} | {share} | {growth} |"
        )
    first, last = rows[0], rows[-1]
    cost, flops = (last[key] / first[key] for key in ("ns_per_token", "flops_per_token"))
    say(f"\nFirst to last: cost times {cost:.1f}, FLOPs times {flops:.1f}.")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--step", help="our step bench, built (default: the one that cargo builds)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="timed part of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="inputs of linear layers in bf16")
    parser.add_argument("--json-file", help="also write the JSON here")
    args = parser.parse_args()
    for name in ("threads", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; it must be 1 or more")
    return args


def main():
    args = parse()
    args.step = args.step or build_step_bench()
    before = machine()
    warn_if_busy(before)
    dtype = "bf16" if args.bf16 else "f32"
    peak = peak_gflops(args.threads).get(dtype)
    try:
        measured = measure(args)
    except Failed as error:
        sys.exit(str(error))
    sweeps = {name: rows_of(sweep, measured, peak) for name, sweep in SWEEPS.items()}
    for name, rows in sweeps.items():
        show(name, rows)
    result = {
        "schema": "windtunnel.scaling.v1",
        "machine": before,
        "threads": args.threads,
        "dtype": dtype,
        "peak_gflops": peak,
        "sweeps": sweeps,
    }
    packed = json.dumps(result, indent=2)
    print(packed)
    if args.json_file:
        Path(args.json_file).write_text(packed + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
