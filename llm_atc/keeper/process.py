"""A child process with all that it starts: begun, looked at, ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_POLL = 0.05


class Process:
    """One run of a program, in a session of its own; it dies with the keeper. `begun` is monotonic."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it. Raises OSError when there is no such program."""
        self._kills = _oom_kills()
        self._killed_by_us = False
        self._alone = False
        self.begun = time.monotonic()
        self._process = subprocess.Popen(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # One thread runs here and it has taken no lock, so code between fork and exec is safe.
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.begun

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives. What it left running is killed."""
        code = self._process.poll()
        if code is not None and not self._alone:
            self._alone = True
            self._signal(signal.SIGKILL)
        return code

    def how(self, code: int) -> str:
        """How it ended, in words."""
        if _oom_kills() > self._kills and not self._killed_by_us:
            return f"was killed by the system, because memory ran out (code {code})"
        if code == -signal.SIGKILL and not self._killed_by_us:
            return f"was killed from outside, as the system does when memory runs out (code {code})"
        return f"ended with code {code}"

    def interrupt(self) -> None:
        """Ask it to end; it need not."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self, seconds: float) -> bool:
        """End it, and all that it started, at once; whether it is gone within so many seconds.

        One that waits for a device or for a disk cannot be killed before that has answered.
        """
        self._killed_by_us = self._alone = True
        self._signal(signal.SIGKILL)
        return self.wait(seconds) is not None

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None when it still lives after that long."""
        deadline = time.monotonic() + seconds
        while self.ended() is None and time.monotonic() < deadline:
            time.sleep(_POLL)
        return self.ended()

    def end(self, grace: float, killed: float) -> bool:
        """Ask it to end, and kill what still lives `grace` seconds later; whether it is gone in the end."""
        if self.ended() is not None:
            return True
        self.interrupt()
        return self.wait(grace) is not None or self.kill(killed)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _oom_kills() -> int:
    """How often this machine's kernel killed a process because memory ran out; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
