"""What the comparison scripts share: the machine, its peak, allocators, pinned processes, our binaries.

Needs nothing outside Python's own library; Linux, for the pinning and the memory.
"""

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
GIB = 1 << 30


# Asked to end, we end as for Ctrl-C, and take the process that is being timed with us.
signal.signal(signal.SIGTERM, signal.default_int_handler)


class Failed(Exception):
    """A process that gave no figure; its words are the message."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def machine():
    """What decides the numbers: the processor, its cores, vector extensions, huge pages, who else is running."""
    cpu, flags, huge = platform.processor() or "unknown", set(), "unknown"
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        fields = dict((part.strip() for part in line.split(":", 1)) for line in first.splitlines())
        cpu = f"{fields['model name']} (family {fields['cpu family']} model {fields['model']})"
        flags = set(fields["flags"].split())
        huge = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().split("[")[1].split("]")[0]
    except (OSError, KeyError, IndexError):
        pass  # Not Linux on x86: the name alone has to do.
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "avx2": "avx2" in flags,
        "avx512": "avx512f" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "transparent_hugepages": huge,
        "load_average_1m": os.getloadavg()[0],
    }


def warn_if_busy(found):
    if found["load_average_1m"] > 0.25 * found["cores"]:
        say(f"warning: load average {found['load_average_1m']:.2f} before the start: not a quiet machine")


def peak_gflops(n_threads):
    """GFLOP/s of multiply-adds from registers, by number type; empty, with a word why, where it can't be had."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None or platform.machine() != "x86_64":
        say("no peak: peak.c needs a C compiler and an x86-64 processor")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "peak"
        try:
            subprocess.run([compiler, "-O2", "-pthread", HERE / "peak.c", "-o", binary], check=True, stdout=sys.stderr)
            found = run_pinned([str(binary), str(n_threads)], cores(n_threads))
        except (subprocess.CalledProcessError, Failed) as error:
            say(f"no peak: {error}")
            return {}
    f32 = max(found["avx2_f32"], found["avx512_f32"])
    # Without the instruction, bf16 is widened and multiplied as f32.
    return {"f32": f32, "bf16": max(f32, found["avx512_bf16"])}


def allocators():
    """Name to environment: what PyTorch's memory can come from, beside glibc as it is.

    The kept heap takes no page back and maps nothing apart, so that a large tensor is not faulted in anew at
    every step; with huge pages it is also advised (`glibc.malloc.hugetlb`, glibc 2.35). tcmalloc and jemalloc are
    tried where they are installed (Debian: libtcmalloc-minimal4 and libjemalloc2), as PyTorch's tuning guide
    sets them. THP_MEM_ALLOC_ENABLE is PyTorch's own switch: it aligns and advises large tensors.
    """
    kept = {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(64 * GIB),
        "MALLOC_TOP_PAD_": str(256 << 20),
    }
    found = {
        "glibc": {},
        "glibc_huge": {"THP_MEM_ALLOC_ENABLE": "1"},
        "glibc_kept": kept,
        "glibc_kept_huge": kept | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    }
    if library := preloadable("libtcmalloc.so.4", "libtcmalloc_minimal.so.4"):
        tcmalloc = {"LD_PRELOAD": library, "TCMALLOC_RELEASE_RATE": "0", "TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(64 * GIB)}
        found["tcmalloc"] = tcmalloc
        found["tcmalloc_huge"] = tcmalloc | {"THP_MEM_ALLOC_ENABLE": "1"}
    if library := preloadable("libjemalloc.so.2"):
        options = "oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:-1,muzzy_decay_ms:-1"
        found["jemalloc"] = {"LD_PRELOAD": library, "MALLOC_CONF": options}
        found["jemalloc_huge"] = {"LD_PRELOAD": library, "MALLOC_CONF": options + ",thp:always"}
    return found


def preloadable(*names):
    paths = (Path(folder) / name for name in names for folder in LIBRARY_FOLDERS)
    return next((str(path) for path in paths if path.exists()), None)


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


def cores(n):
    """The first `n` cores that this process may use."""
    return sorted(os.sched_getaffinity(0))[:n]


def run_pinned(command, on_cores, environment=None):
    """Runs a process of its own on these cores, one thread each; the JSON object that it prints.

    `wall_seconds` is added, and `peak_rss_mb` (of the largest process that it was or started) if it named none.
    """
    settings = {"OMP_NUM_THREADS": str(len(on_cores)), "PYTHONDONTWRITEBYTECODE": "1"} | (environment or {})
    shown = shlex.join([*(f"{name}={value}" for name, value in (environment or {}).items()), *map(str, command)])
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, stdout=out, stderr=err, env=os.environ | settings,
                preexec_fn=lambda: os.sched_setaffinity(0, on_cores),
            )
        except OSError as error:
            raise Failed(f"{shown}: {error}") from error
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - started
        out.seek(0), err.seek(0)
        printed, words = out.read(), err.read()
    record = last_json_object(printed)
    if process.returncode != 0 or record is None:
        raise Failed(f"{shown}: status {process.returncode}, its last words:\n{(words or printed)[-2000:]}")
    return {"wall_seconds": wall_s, "peak_rss_mb": usage.ru_maxrss * 1024 / 1e6} | record


def build_step_bench():
    """Path of our step bench, built by cargo if it is not yet."""
    return build("bench", ["--bench", "step", "--no-run"], "step")


def build_binary():
    """Path of `windtunnel`, likewise."""
    return build("build", ["--release", "--bin", "windtunnel"], "windtunnel")


def build(verb, arguments, target):
    command = ["cargo", verb, *arguments, "--message-format=json"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        sys.exit(f"{shlex.join(command)}: {error}; install Rust, or name a built binary")
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)}: status {done.returncode}; mend it, or name a built binary")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == target:
            return message["executable"]
    sys.exit(f"{shlex.join(command)}: made no executable called {target}")


def in_order(names, round_idx):
    """A B A B: the order turns by one place per round."""
    turn = round_idx % len(names)
    return names[turn:] + names[:turn]
