"""Markdown that is still being written, cut where what stands above can change no more. Pure."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def finished(text: str) -> int:
    """How many characters of the text stand in blocks that are over: up to the last blank line.

    A blank line within fenced code ends nothing, nor does one before an indented line, which may go on with
    a list's item.
    """
    end, place, fence = 0, 0, ""
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        place += len(line)
        found = _FENCE.match(line)
        if fence:
            closes = found is not None and found[1].startswith(fence) and line.strip() == found[1]
            fence = "" if closes else fence
        elif found is not None:
            fence = found[1]
        elif not line.strip() and index + 1 < len(lines) and not lines[index + 1][:1].isspace():
            end = place
    return end


def printable(text: str) -> str:
    """The text without characters that steer a terminal: models and tools are not to be trusted."""
    return _CONTROL.sub("", text)
