"""Times windtunnel and nanoGPT's shape on PyTorch in turn on this machine, and prints the ratio.

    python benches/peers/interleave.py --setup .venv-peers              # once: PyTorch from the package index
    python benches/peers/interleave.py --python .venv-peers/bin/python --config a --threads 2 --rounds 5

Each round runs every contestant once, each in its own process, in an order that turns by one place per
round, so that a machine that slows down or warms up slows all of them. PyTorch counts eager or compiled,
whichever has the better median. Text on stderr, one JSON object on stdout; --json-file keeps a copy. Needs nothing outside Python's own library.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ["torch==2.15.0", "numpy"]
OURS = "cargo bench --bench step -- --config {config} --seconds {seconds} --threads {threads}"


def set_up(folder):
    """A virtual environment with PyTorch, by package names from the configured index (several GB on Linux)."""
    venv.create(folder, with_pip=True)
    python = Path(folder) / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", *PACKAGES], check=True, stdout=sys.stderr)
    print(f"ready: pass --python {python}", file=sys.stderr)


def machine():
    """What decides the numbers: the processor, its cores, vector extensions, and who else is running."""
    cpu, flags = platform.processor() or "unknown", set()
    try:
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        )
        cpu = f"{fields['model name']} (family {fields['cpu family']} model {fields['model']})"
        flags = set(fields["flags"].split())
    except (OSError, KeyError):
        pass  # Not Linux on x86: the name alone has to do.
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "avx2": "avx2" in flags,
        "avx512": "avx512f" in flags,
        "load_average_1m": os.getloadavg()[0],
    }


def last_json_object(text):
    """The last complete top-level JSON object in `text`, or None."""
    decoder, found, at = json.JSONDecoder(), None, text.find("{")
    while at != -1:
        try:
            found, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            end = at + 1
        at = text.find("{", end)
    return found


def measure(command):
    """Tokens per second that one process reports; ends the program with the process's own words if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"{shlex.join(command)}: {error}; build it, or name it with --ours or --python")
    record = last_json_object(done.stdout) or {}
    if done.returncode != 0 or not isinstance(record.get("tokens_per_second"), (int, float)):
        sys.exit(
            f"{shlex.join(command)}: status {done.returncode} and no object with tokens_per_second; "
            f"its last words:\n{(done.stderr or done.stdout)[-2000:]}"
        )
    return record["tokens_per_second"]


def contestants(args):
    """Name to command; ours first."""
    peer = [args.python, str(HERE / "nanogpt_cpu.py"), "--config", args.config]
    peer += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    if args.text:
        peer += ["--text", args.text]
    ours = args.ours.format(config=args.config, seconds=args.seconds, threads=args.threads)
    found = {"windtunnel": shlex.split(ours), "torch_eager": peer}
    if not args.no_compile:
        found["torch_compiled"] = [*peer, "--compile"]
    return found


def run_rounds(commands, n_rounds):
    names = list(commands)
    rates = {name: [] for name in names}
    for round_idx in range(n_rounds):
        turn = round_idx % len(names)
        for name in names[turn:] + names[:turn]:
            rates[name].append(measure(commands[name]))
            print(f"round {round_idx + 1}/{n_rounds} {name:15} {rates[name][-1]:12,.0f} tokens/s", file=sys.stderr)
    return rates


def summary(rates):
    """Medians, extremes, and our ratio to the better PyTorch: of medians, and round by round."""
    table = {
        name: {"median": statistics.median(found), "lowest": min(found), "highest": max(found), "all": found}
        for name, found in rates.items()
    }
    peer = max((name for name in table if name != "windtunnel"), key=lambda name: table[name]["median"])
    by_round = [ours / theirs for ours, theirs in zip(rates["windtunnel"], rates[peer])]
    return {
        "tokens_per_second": table,
        "better_peer": peer,
        "ratio_of_medians": table["windtunnel"]["median"] / table[peer]["median"],
        "ratio_lowest_round": min(by_round),
        "ratio_highest_round": max(by_round),
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--setup", metavar="DIR", help="create a virtual environment with PyTorch and stop")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--ours", default=OURS, help=f"our command (default: {OURS})")
    parser.add_argument("--config", default="a", choices="abc")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="timed part of each process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (no C++ compiler)")
    parser.add_argument("--text", help="path of tiny Shakespeare for PyTorch's side")
    parser.add_argument("--json-file", help="also write the JSON here")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}; it must be 1 or more")
    return args


def main():
    args = parse()
    if args.setup:
        set_up(args.setup)
        return
    before = machine()
    if before["load_average_1m"] > 0.25 * before["cores"]:
        print(f"warning: load average {before['load_average_1m']:.2f} before the start: not a quiet machine", file=sys.stderr)
    commands = contestants(args)
    result = {
        "schema": "windtunnel.peers.v1",
        "machine": before,
        "config": args.config,
        "threads": args.threads,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "commands": {name: shlex.join(command) for name, command in commands.items()},
    } | summary(run_rounds(commands, args.rounds))
    result["machine"]["load_average_1m_after"] = os.getloadavg()[0]

    for name, found in result["tokens_per_second"].items():
        print(f"{name:15} {found['median']:12,.0f} tokens/s  ({found['lowest']:,.0f} to {found['highest']:,.0f})", file=sys.stderr)
    print(
        f"{result['ratio_of_medians']:.2f} times {result['better_peer']} "
        f"({result['ratio_lowest_round']:.2f} to {result['ratio_highest_round']:.2f} by round), "
        f"{args.threads} threads, {before['cpu']}",
        file=sys.stderr,
    )
    packed = json.dumps(result, indent=2)
    print(packed)
    if args.json_file:
        Path(args.json_file).write_text(packed + "\n")


if __name__ == "__main__":
    main()
