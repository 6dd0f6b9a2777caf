"""The best learning rate by width, with muP and without: `configs/studies/mup_rate.toml` at each.

    cargo build --release
    python benches/mup_rate.py [--home DIR] [--widths 32,64,128,256]

Runs what has not been run, then prints the mean validation loss of each rate (nats per token) and
the best rate: the lowest point of the parabola through the best of the rates and its neighbours,
over the logarithm of the rate. Standard library only.
"""

import argparse
import json
import math
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def losses(binary, home, changes):
    """Mean final loss by rate; a rate that diverged is infinite."""
    study = ROOT / "configs/studies/mup_rate.toml"
    command = [binary, "run", study, "--json", "--home", home, *changes]
    verdict = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["verdict"]
    means = {}
    for arm in verdict["arms"]:
        values = [pair["arm"] for pair in arm["pairs"]]
        means[rate(arm["arm"])] = math.inf if None in values else sum(values) / len(values)
    controls = [pair["control"] for pair in verdict["arms"][0]["pairs"]]
    means[rate(verdict["control"])] = math.inf if None in controls else sum(controls) / len(controls)
    return dict(sorted(means.items()))


def rate(arm):
    return float(arm.removeprefix("r"))


def best(means):
    """The lowest point between the rates; one at the edge of the sweep is given as it is."""
    rates, values = list(means), list(means.values())
    at = values.index(min(values))
    if at in (0, len(rates) - 1) or math.isinf(max(values[at - 1], values[at + 1])):
        return rates[at]
    left, middle, right = values[at - 1 : at + 2]
    # Rates are a factor of 2 apart.
    offset = 0.5 * (left - right) / (left - 2 * middle + right)
    return rates[at] * 2**offset


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", default=".windtunnel")
    parser.add_argument("--binary", default=str(ROOT / "target/release/windtunnel"))
    parser.add_argument("--widths", default="32,64,128,256")
    parser.add_argument("--base-width", default="256")
    args = parser.parse_args()
    mup = ["model.init=mup", f"model.base_width={args.base_width}"]
    for name, changes in [("mup", mup), ("gpt2", [])]:
        found = []
        for width in args.widths.split(","):
            means = losses(args.binary, args.home, [f"model.n_embd={width}", *changes])
            if not found:
                print(f"{name:6}" + "".join(f"{r:>9g}" for r in means) + "     best")
            found.append(best(means))
            print(f"{width:>6}" + "".join(f"{x:9.3f}" for x in means.values()) + f"{found[-1]:9.2g}", flush=True)
        print(f"the best rates of {name} are within a factor of {max(found) / min(found):.2f}\n", flush=True)


if __name__ == "__main__":
    main()
