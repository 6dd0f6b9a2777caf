"""Runs the parts in turn within one budget of seconds, and writes check.txt and check.json; see README.md beside this.

`check.sh` calls this. No failure ends it: each is a row. Needs Python 3.9 and nothing outside its own library.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import faults
import parity
import speed
from process import ROOT, Clock, NoTime, Shell, Unmeasured, say
from report import FAILED, PARTS, SKIPPED, Row, as_json, as_text, counts

CHECKS = {"parity": parity.check, "faults": faults.check, "speed": speed.check}
# The most that a part may take; the last has what is left.
PART_S = {"parity": 120.0, "faults": 80.0, "speed": float("inf")}
CORPUS = "tinyshakespeare"


class At:
    """Where the check runs: binaries, device, budget, and what was found out about them."""

    def __init__(self, args):
        self.bin, self.out, self.smoke = args.bin, args.out, args.smoke
        self.clock, self.python = Clock(args.seconds_budget), sys.executable
        self.windtunnel, self.device = args.bin / "windtunnel", "cpu" if args.smoke else args.device
        self.flags = ["--device", self.device] + ([] if args.smoke else ["--dtype", "bf16"])
        self.test_environment = {} if args.smoke else {"WINDTUNNEL_TEST_DEVICE": cuda_index(args.device)}
        # One at a time: they share the device and its one stream, and a capture takes whatever comes in between.
        self.test_threads = 2 if args.smoke else 1
        self.shell = Shell(args.out / "check.log", library_folders() | {"PYTHONDONTWRITEBYTECODE": "1"})
        (args.out / "check.log").write_text("")
        self.rows, self.part_started, self.data = [], {}, args.data
        self.scratch = tempfile.TemporaryDirectory()
        self.versions = self.read_versions()
        self.machine, self.memory_bytes = self.read_machine()
        # Why nothing can run on the device, or None.
        self.no_device = None if args.smoke else self.probe()
        self.no_peer = self.probe_peer()

    def part_limit(self, part):
        """Seconds that a process of this part may take. Raises NoTime when the part has had its share."""
        left = PART_S[part] - (time.monotonic() - self.part_started[part])
        if left < 1.0:
            raise NoTime(f"{part} has had its {PART_S[part]:.0f} s")
        return self.clock.limit(left)

    def read_versions(self):
        done = self.shell.run([self.windtunnel, "doctor", "--device", "cpu", "--json", "--home", self.scratch.name], 60.0)
        found = {"python": platform.python_version()}
        for key in ("version", "revision", "numerics", "cuda_compiled"):
            found[key] = done.record.get(key)
        if not done.record:
            self.rows.append(Row.without("faults", "windtunnel starts", FAILED, done.words()))
        return found

    def read_machine(self):
        """What nvidia-smi and the system say; and the device's memory in bytes, or None."""
        query = "name,memory.total,driver_version,power.limit,clocks.max.sm"
        done = self.shell.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"], 20.0)
        lines = done.out.strip().splitlines() if done.status == 0 else []
        index = int(cuda_index(self.device).rsplit(":", 1)[1]) if self.device != "cpu" else 0
        values = [cell.strip() for cell in lines[index].split(",")] if index < len(lines) else []
        names = ["gpu", "memory_mib", "driver", "power_limit_w", "clock_max_mhz"]
        machine = dict(zip(names, values)) if len(values) == len(names) else dict.fromkeys(names)
        memory = machine["memory_mib"]
        machine |= {"cores": len(os.sched_getaffinity(0)), "load": f"{os.getloadavg()[0]:.2f}", "system": platform.platform()}
        return machine, int(memory) << 20 if memory and memory.isdigit() else None

    def probe(self):
        """Whether our binary opens the device; the reason why not."""
        done = self.shell.run([self.windtunnel, "doctor", *self.flags[:2], "--json", "--home", self.scratch.name], 60.0)
        if done.status == 0:
            return None
        said = done.record
        if done.status == 2 and str(said.get("place")).startswith("--device"):
            return f"no device: {said['place']}: {said['problem']}"
        reason = f"{said['place']}: {said['problem']}" if "problem" in said else done.words()
        self.rows.append(Row.without("faults", "doctor on the device", FAILED, reason))
        # It opens, though something is wrong with it: the parts will say more.
        return None if done.status == 4 else f"no device: {reason}"

    def probe_peer(self):
        code = "import torch, json; print(json.dumps({'torch': torch.__version__, 'cuda': torch.cuda.is_available()}))"
        done = self.shell.run([self.python, "-c", code], 120.0)
        self.versions["torch"] = done.record.get("torch")
        if done.status != 0:
            return f"no PyTorch beside us: {(done.err.strip().splitlines() or [done.how])[-1]}"
        if not (done.record.get("cuda") or self.smoke):
            return f"no PyTorch beside us: torch {done.record.get('torch')} sees no CUDA device"
        return None

    def data_environment(self):
        return {"WINDTUNNEL_MIRROR": str(self.data)} if self.data else {}

    def text(self):
        """Path of tiny Shakespeare: the one that was given, or what our own `data fetch` brings."""
        if not self.data:
            command = [self.windtunnel, "data", "fetch", CORPUS, "--home", self.scratch.name, "--json"]
            self.shell.measure(command, self.clock.limit(30.0))
            found = next(Path(self.scratch.name).rglob(f"{CORPUS}.txt"), None)
            if found is None:
                raise Unmeasured(f"{CORPUS}: fetched, but its text is not in the home")
            self.data = found.parent
        return self.data / f"{CORPUS}.txt"

    def save(self, latest=()):
        """Writes the report as it stands: a check that is itself killed leaves what it knew."""
        about = {
            "machine": self.machine,
            "versions": self.versions,
            "smoke": self.smoke,
            "device": self.device,
            "seconds": self.clock.spent(),
            "seconds_budget": self.clock.budget_s,
        }
        rows = [*self.rows, *latest]
        (self.out / "check.json").write_text(json.dumps(as_json(rows, about), indent=1, allow_nan=False) + "\n")
        text = as_text(rows, about)
        (self.out / "check.txt").write_text(text)
        return text


def cuda_index(device):
    """
    >>> cuda_index("cuda"), cuda_index("cuda:1")
    ('cuda:0', 'cuda:1')
    """
    return device if ":" in device else f"{device}:0"


def library_folders():
    """Where CUDA's libraries lie if Python packages brought them: our binary looks them up at its first call."""
    found = [str(path) for root in sys.path for path in sorted(Path(root or ".").glob("nvidia/cu*/lib"))]
    found += [str(path) for root in sys.path for path in sorted(Path(root or ".").glob("nvidia/cublas/lib"))]
    given = [folder for folder in os.environ.get("CUDA_LIB_DIRS", "").split(":") if folder]
    return {"CUDA_LIB_DIRS": ":".join([*given, *found])} if given or found else {}


def parse():
    parser = argparse.ArgumentParser(
        prog="check.sh", description="Proves windtunnel on a CUDA device, from built binaries.",
        epilog="Status 0: nothing failed; 1: something did; 2: bad arguments.",
    )
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "gpu", help="folder of `windtunnel` and `gpu` (default: target/gpu)")
    parser.add_argument("--out", type=Path, help="folder for check.txt, check.json and check.log (default: the binaries')")
    parser.add_argument("--data", type=Path, help="folder of tinyshakespeare.txt (default: `data` beside the binaries, else fetched)")
    parser.add_argument("--only", choices=PARTS, action="append", metavar="PART", help=f"{', '.join(PARTS)}; may be given again")
    parser.add_argument("--seconds-budget", type=float, default=470.0, help="what it may take in all (default: 470)")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    parser.add_argument("--smoke", action="store_true", help="try the whole pipeline on a CPU, with tiny shapes: no number means anything")
    args = parser.parse_args()
    if not shutil.which(args.bin / "windtunnel"):
        parser.error(f"--bin {args.bin}: no program called windtunnel is there; build it by benches/gpu/build.sh")
    if not args.seconds_budget > 0:
        parser.error(f"--seconds-budget is {args.seconds_budget:g}; it must be more than 0")
    if args.device.split(":")[0] != "cuda" or not cuda_index(args.device)[5:].isdigit():
        parser.error(f"--device is {args.device}; it must be cuda or cuda:N")
    beside = args.bin / "data"
    args.data = args.data or (beside if (beside / f"{CORPUS}.txt").is_file() else None)
    if args.data and not (args.data / f"{CORPUS}.txt").is_file():
        parser.error(f"--data {args.data}: no {CORPUS}.txt is there")
    args.bin, args.data = args.bin.resolve(), args.data and args.data.resolve()
    args.out = (args.out or args.bin).resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def run_part(at, part):
    """The rows of a part, whatever happens in it."""
    say(f"{part}: {at.clock.left():.0f} s left")
    at.part_started[part] = time.monotonic()
    try:
        return CHECKS[part](at)
    except NoTime as lack:
        return [Row.without(part, part, SKIPPED, f"no time: {lack}")]
    except Exception as error:  # A fault of the check's own: it must not take the rest of the report along.
        return [Row.without(part, part, FAILED, f"the check itself failed: {type(error).__name__}: {error}")]


def main():
    args = parse()
    at = At(args)
    interrupted = False
    for part in PARTS:
        if args.only and part not in args.only:
            continue
        try:
            at.rows += run_part(at, part)
        except KeyboardInterrupt:
            at.rows.append(Row.without(part, part, FAILED, "interrupted"))
            interrupted = True
            break
        finally:
            at.save()
    print(at.save(), end="")
    say(f"written: {at.out}/check.txt, check.json, check.log")
    sys.exit(130 if interrupted else int(counts(at.rows)[FAILED] > 0))


if __name__ == "__main__":
    main()
