"""A folder that an installation fills: one installer at a time, and complete only when it says so.

The marker is written last and on its own, so an installation that was interrupted anywhere is seen as not
there, and is done again from nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_atc.plan.engine import EngineName, Pin

MARKER = ".complete"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder, made when it is not there, against every other process; waits for whoever holds it.

    The lock is on the folder itself, so it leaves no file behind and ends with the process that has it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not same_folder(lock, folder):  # removed while we waited: it is another folder now
                continue
            yield
            return
        finally:
            os.close(lock)


def same_folder(descriptor: int, path: Path) -> bool:
    """Whether this path still is the folder that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def empty(folder: Path) -> None:
    """Remove all that the folder holds, its marker first; the folder itself stays."""
    (folder / MARKER).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_complete(folder: Path, pin: Pin) -> bool:
    """Whether what lies here is this very pin, installed to its end."""
    return read_marker(folder) == _marker(pin)


def mark_complete(folder: Path, pin: Pin) -> None:
    """Say that the installation came to its end."""
    draft = folder / f"{MARKER}.draft"
    draft.write_text(json.dumps(_marker(pin)) + "\n")
    draft.replace(folder / MARKER)


def read_marker(folder: Path) -> dict[str, object]:
    """What the marker says: engine, version, requirements; empty when there is none."""
    try:
        found = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _marker(pin: Pin) -> dict[str, object]:
    return {
        "engine": str(EngineName(pin.engine)),
        "version": pin.version,
        "requirements": list(pin.requirements),
    }
