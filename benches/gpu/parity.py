"""The device against the CPU: the tests of `tests/gpu.rs`, built into a program of their own, on the CUDA device.

Every test is a row. One that failed, or that was never reached because another took the process down, is tried
again alone: after an illegal access a CUDA context answers nothing more, and one broken kernel would look like many.
"""

import re

from process import NoTime
from report import FAILED, OK, SKIPPED, Row

PART = "parity"
RESULT = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", re.MULTILINE)


def check(at):
    binary = at.bin / "gpu"
    if not binary.is_file():
        return [Row.without(PART, "tests of the device", SKIPPED if at.smoke else FAILED, f"no {binary}: benches/gpu/build.sh builds it")]
    listed = at.shell.run([binary, "--list", "--format", "terse"], 20, at.test_environment)
    names = [line[: -len(": test")] for line in listed.out.splitlines() if line.endswith(": test")]
    if not names:
        return [Row.without(PART, "tests of the device", FAILED, f"{binary} lists no tests: {listed.words()}")]
    if at.no_device:
        return [Row.without(PART, name, FAILED, at.no_device) for name in names]
    limit_s = at.part_limit(PART)
    together = at.shell.run([binary, "--test-threads", at.test_threads], limit_s, at.test_environment)
    states = results(together.out)
    rows = [row_of(name, states.get(name), together) for name in names]
    return [again_alone(at, binary, row) if row.state == FAILED else row for row in rows]


def results(text):
    """What each test came to.

    >>> results("test a::b ... ok\\ntest c - should panic ... ok\\ntest d ... FAILED\\ntest e ... ignored, slow\\n")
    {'a::b': 'ok', 'c': 'ok', 'd': 'FAILED', 'e': 'ignored'}
    """
    return dict(RESULT.findall(text))


def row_of(name, state, done):
    if state == "ok":
        return Row(PART, name, OK)
    if state == "ignored":
        return Row.without(PART, name, SKIPPED, "the test is marked as ignored")
    reason = panic_of(name, done.out) if state else f"not reached: {done.words(200)}"
    return Row.without(PART, name, FAILED, reason, {"reached": bool(state)})


def panic_of(name, text):
    """The words of a test that failed.

    >>> panic_of("a", "---- a stdout ----\\n\\nthread 'a' panicked at x.rs:1:2:\\nnorm: 1 instead of 2\\n\\n\\n---- b stdout ----\\n")
    "thread 'a' panicked at x.rs:1:2:\\nnorm: 1 instead of 2"
    """
    section = text.split(f"---- {name} stdout ----", 1)[-1].split("\n----", 1)[0].split("\nfailures:", 1)[0]
    lines = [line for line in section.strip().splitlines() if line.strip() and not line.startswith("note: ")]
    return "\n".join(lines)[:800] or "failed without a word"


def again_alone(at, binary, row):
    try:
        limit_s = at.clock.limit(min(20.0, at.part_limit(PART)), 2.0)
    except NoTime:
        return row
    done = at.shell.run([binary, "--exact", row.name], limit_s, at.test_environment)
    if results(done.out).get(row.name) == "ok":
        if not row.detail["reached"]:
            return Row(PART, row.name, OK, detail={"alone": True})
        row.reason = f"fails beside others, alone it is ok: {row.reason}"
    elif row.name in results(done.out):
        row.reason = panic_of(row.name, done.out)
    else:
        row.reason = done.words(300)
    return row
