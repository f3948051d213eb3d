"""A log of bounded size: written by the supervisor, read by everybody else. Standard library only."""

from __future__ import annotations

import os
from contextlib import suppress

_LONGEST_LINE = 1024**2


class Log:
    """`engine.log` and the files it was moved to, `engine.log.1` the newest of them.

    `limit` is each file's size in bytes and `keep` the number of files. A file ends at the end of a line,
    except within a line longer than a mebibyte. A full disk loses output; it never stops the engine.
    """

    def __init__(self, folder: int, name: str, *, limit: int, keep: int) -> None:
        self._folder, self._name, self._limit, self._keep = folder, name, limit, keep
        self._open()

    def write(self, chunk: bytes) -> None:
        """Add these bytes, moving on to a new file where they would make this one too large."""
        while chunk:
            room = max(self._limit - self._size, 0)
            cut = len(chunk) if len(chunk) <= room else chunk.rfind(b"\n", 0, room) + 1
            may_move = self._at_line_end or self._size > self._limit + _LONGEST_LINE
            if cut == 0 and self._size and may_move:
                self._rotate()
                continue
            cut = cut or chunk.find(b"\n") + 1 or len(chunk)
            self._append(chunk[:cut])
            chunk = chunk[cut:]

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            self._file = os.open(self._name, flags, 0o600, dir_fd=self._folder)
        except OSError:
            self._file = os.open(os.devnull, os.O_WRONLY)
        self._size = os.fstat(self._file).st_size
        self._at_line_end = True

    def _append(self, chunk: bytes) -> None:
        with suppress(OSError):
            written = os.write(self._file, chunk)
            self._size += written
        self._at_line_end = chunk.endswith(b"\n")

    def _rotate(self) -> None:
        os.close(self._file)
        names = [self._name, *(f"{self._name}.{number}" for number in range(1, self._keep))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            with suppress(OSError):
                os.replace(newer, older, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        if len(names) == 1:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        self._open()
        self._size = 0  # also where the file could not be moved: better too long than moved for ever
