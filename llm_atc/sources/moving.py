"""Files on their way, wherever from: several at once, counted together, all stopped by the first failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import BinaryIO

from llm_atc.errors import SourceError

THREADS = 4

# Called with bytes done, bytes in all, and the file that they belong to; from one thread at a time.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a push or a pull did. `skipped` files were there already; bytes count every file.

    `unverified` files were compared by size alone: the bucket keeps no checksum of them.
    """

    files: int
    skipped: int
    bytes: int
    unverified: tuple[str, ...] = ()


class Stopped(Exception):
    """Another file failed, or the user interrupted: this one ends here."""


class Count:
    """Adds up what several threads have moved, and tells them when to stop."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = Lock()
        self._stop = Event()

    def add(self, size: int, name: str) -> None:
        if self._stop.is_set():
            raise Stopped
        with self._lock:
            self._done = max(0, min(self._done + size, self._total))
            self._progress(self._done, self._total, name)

    def stop(self) -> None:
        self._stop.set()


class Counted:
    """A file that counts what is written to it."""

    def __init__(self, file: BinaryIO, count: Count, name: str) -> None:
        self._file = file
        self._count = count
        self._name = name

    def write(self, piece: bytes) -> int:
        written = self._file.write(piece)
        self._count.add(written, self._name)
        return written


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one file."""

    skipped: bool = False
    verified: bool = True


def move_each(sizes: Mapping[str, int], move: Callable[[str], Done], count: Count) -> Moved:
    """Move every file, a few at a time; the first failure stops the others."""
    done: dict[str, Done] = {}
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="transfer")
    futures = {pool.submit(move, name): name for name in sizes}
    try:
        for future in as_completed(futures):
            done[futures[future]] = future.result()
        pool.shutdown()
    except BaseException as error:
        count.stop()
        # After Ctrl-C nobody waits: a thread may hang in a connection that is silent.
        pool.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
        raise
    return Moved(
        files=len(sizes),
        skipped=sum(one.skipped for one in done.values()),
        bytes=sum(sizes.values()),
        unverified=tuple(name for name in sizes if not done[name].verified),
    )


def check_room(folder: Path, to_come: int) -> None:
    """Raise SourceError when the disk that this folder is on, or will be, has not that many bytes."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if to_come > free:
        raise SourceError(
            f"{folder} has {free / 1e9:.1f} GB free, and {to_come / 1e9:.1f} GB are to come.",
            hint=f"df -h {there}   (what is here already: llm-atc models)",
        )
