"""Folders that one process at a time may change. Standard library only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(folder: Path, *, make: bool = False) -> Iterator[int | None]:
    """Hold the folder against every other process, waiting for whoever holds it; its descriptor.

    None when it is not there and may not be made. The lock is on the folder itself: it leaves no file
    behind, and lasts until the last copy of the descriptor is closed, in whatever process that is.
    """
    while True:
        lock = _open(folder, make)
        if lock is None:
            yield None
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_still(lock, folder):  # else it was removed while we waited
                yield lock
                return
        finally:
            os.close(lock)


def is_still(descriptor: int, path: Path) -> bool:
    """Whether this path still names the folder, or file, that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _open(folder: Path, make: bool) -> int | None:
    while True:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if not make:
                return None
