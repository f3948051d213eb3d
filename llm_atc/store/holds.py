"""Which command works on which deployment now: a locked file each, so that a killed command holds nothing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_atc.errors import DeploymentBusy
from llm_atc.folders import is_still

# A look at a hold locks it too, for a moment; a command is not refused for that.
PATIENCE, PAUSE = 0.5, 0.02


class Holds:
    """A folder of holds. The kernel ends a lock with its process, however that ends, in a container too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def working(self, name: str, verb: str) -> Iterator[None]:
        """Hold the name while the block runs. Raises DeploymentBusy when another command has it."""
        lock = self._take(name)
        try:
            who = {"verb": verb, "pid": os.getpid(), "host": socket.gethostname()}
            with contextlib.suppress(
                OSError
            ):  # on a full disk nobody can read who it is; it is held all the same
                os.pwrite(lock, json.dumps(who).encode(), 0)
            yield
        finally:
            self._folder.joinpath(name).unlink(missing_ok=True)
            os.close(lock)

    def holder(self, name: str) -> dict[str, Any] | None:
        """The `verb`, `pid` and `host` of the command that has the name; None when none has."""
        try:
            lock = os.open(self._folder / name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(lock)
        finally:
            os.close(lock)
        return None

    def _take(self, name: str) -> int:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path, end = self._folder / name, time.monotonic() + PATIENCE
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = _read(lock)
                os.close(lock)
                if time.monotonic() > end:
                    raise _busy(name, who) from None
                time.sleep(PAUSE)
                continue
            if is_still(lock, path):  # else it was let go of, and removed, meanwhile
                os.ftruncate(lock, 0)
                return lock
            os.close(lock)


def _read(lock: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found: dict[str, Any] = json.loads(os.pread(lock, 4096, 0))
        return found
    return {"verb": "…", "pid": "?", "host": "?"}  # it has only just begun


def _busy(name: str, who: dict[str, Any]) -> DeploymentBusy:
    return DeploymentBusy(
        f"`llm-atc {who['verb']} {name}` is at work on it (process {who['pid']} on {who['host']}).",
        hint=f"llm-atc status {name}",
    )
