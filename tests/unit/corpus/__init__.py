"""Lines as people write them, and whether they are to be refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A line, or several that belong together; `bad` says that it is to be refused."""

    text: str
    bad: bool


def entries(name: str) -> list[Entry]:
    """The entries of a file beside this one."""
    return list(_read(Path(__file__).with_name(name).read_text()))


def _read(text: str) -> Iterator[Entry]:
    held = ""
    for line in text.splitlines():
        if not held and (line.startswith("#:") or not line.strip()):
            continue
        held += f"{line}\n"
        if not line.endswith("\\"):
            bad = held.startswith("! ")
            yield Entry(held.removeprefix("! ").rstrip("\n"), bad)
            held = ""
