"""Processes with a time limit, and the time that the whole check has left.

Whatever hangs is killed with all that it started; nothing here waits longer than it was told to.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "benches" / "peers"))

from harness import last_json_object, say  # noqa: E402


class NoTime(Exception):
    """The budget does not hold another measurement; the message says how much it lacks."""


class Unmeasured(Exception):
    """A process that gave no figure; its words are the message."""


class Clock:
    """The budget of the whole check."""

    def __init__(self, budget_s):
        self.budget_s, self.started = budget_s, time.monotonic()

    def spent(self):
        return time.monotonic() - self.started

    def left(self):
        return self.budget_s - self.spent()

    def limit(self, wanted_s, at_least_s=1.0):
        """Seconds that a process may take: what it wants, or what is left. Raises NoTime if that is too little."""
        if self.left() < at_least_s:
            raise NoTime(f"{max(0.0, self.left()):.0f} s of {self.budget_s:.0f} are left, {at_least_s:.0f} are needed")
        return min(wanted_s, self.left())


@dataclass
class Done:
    """A process that ended, or was killed at its limit (`status` is None then)."""

    command: str
    status: Optional[int]
    seconds: float
    out: str
    err: str

    @property
    def record(self):
        """The last JSON object that it printed, or an empty one."""
        return last_json_object(self.out) or {}

    @property
    def how(self):
        if self.status is None:
            return f"killed after {self.seconds:.0f} s"
        return f"killed by signal {-self.status}" if self.status < 0 else f"status {self.status}"

    def words(self, n=600):
        """How it ended and its last words."""
        return f"{self.how}: {(self.err.strip() or self.out.strip())[-n:] or 'no word'}"


class Shell:
    """Runs commands, one at a time, and keeps what each said in one log."""

    def __init__(self, log_path, environment):
        self.log_path, self.environment = log_path, environment

    def run(self, command, limit_s, environment=None):
        """A process in a group of its own; whatever is left of the group is killed at the limit."""
        shown = shlex.join(map(str, command))
        say(f"  {shown}")
        with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
            started = time.monotonic()
            try:
                process = self.start(command, out, err, environment)
            except OSError as error:
                return self.log(Done(shown, 127, 0.0, "", str(error)))
            status = None
            try:
                status = process.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                pass
            finally:
                end(process)
            seconds = time.monotonic() - started
            out.seek(0), err.seek(0)
            return self.log(Done(shown, status, seconds, out.read(), err.read()))

    def measure(self, command, limit_s, environment=None):
        """The record that a process prints; raises Unmeasured where it fails."""
        done = self.run(command, limit_s, environment)
        if done.status != 0 or not done.record:
            raise Unmeasured(f"{Path(done.command.split()[0]).name}: {done.words()}")
        return {"wall_seconds": done.seconds, **done.record}

    def start(self, command, out, err, environment=None):
        """A process in a group of its own that runs on."""
        return subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=err, stdin=subprocess.DEVNULL, text=True,
            env=os.environ | self.environment | (environment or {}), start_new_session=True,
        )

    def log(self, done):
        with open(self.log_path, "a", errors="replace") as log:
            log.write(f"$ {done.command}\n{done.out}{done.err}-- {done.how}, {done.seconds:.2f} s\n\n")
        return done


def end(process):
    """Kills a process and its group; nothing of it is left to hold the device."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
