"""Reads an engine's log while its supervisor writes and rotates it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from llm_atc.folders import is_still
from llm_atc.targets.supervisor import LOG


def read_log(folder: Path, lines: int | None) -> Iterator[str]:
    """The log's lines, oldest first: all that is kept, or the last so many."""
    found = _lines(folder)
    yield from found if lines is None else deque(found, maxlen=lines)


def _lines(folder: Path) -> Iterator[str]:
    for path in (*_older(folder), folder / LOG):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            for line in file:
                yield _text(line)


def follow_log(
    folder: Path, lines: int | None, *, goes_on: Callable[[], bool], wait: Callable[[], None]
) -> Iterator[str]:
    """The log's lines, and every new one until `goes_on` says that no more will come.

    `wait` is called when there is nothing new.
    """
    before = b"".join(path.read_bytes() for path in _older(folder))
    with closing(_Current(folder)) as current:
        *whole, rest = (before + current.read()).split(b"\n")
        for line in whole if lines is None else whole[len(whole) - min(lines, len(whole)) :]:
            yield _text(line)
        while True:
            alive = goes_on()  # asked before reading: what is written until then is read below
            new = current.read()
            *whole, rest = (rest + new).split(b"\n")
            for line in whole:
                yield _text(line)
            if not new and not alive:
                break
            if not new:
                wait()
        if rest:
            yield _text(rest)


class _Current:
    """The file that is being written, whichever that is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def read(self) -> bytes:
        """What is new, also across a rotation."""
        self._file = self._file or self._open()
        if self._file is None:
            return b""
        found = self._file.read()
        if self._moved_on(self._file):
            found += self._file.read()
            self._file.close()
            self._file = self._open()
            found += self._file.read() if self._file else b""
        return found

    def close(self) -> None:
        """Read no more."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO | None:
        try:
            return self._folder.joinpath(LOG).open("rb")
        except FileNotFoundError:
            return None

    def _moved_on(self, file: BinaryIO) -> bool:
        return not is_still(file.fileno(), self._folder / LOG)


def _older(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{LOG}.*"), key=lambda path: int(path.suffix[1:]), reverse=True)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")
