"""A folder that an installation fills: complete only when it says so.

The marker is written last and on its own, so an installation that was interrupted anywhere is seen as not
there, and is done again from nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from llm_atc.plan.engine import EngineName, Pin

MARKER = ".complete"


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
