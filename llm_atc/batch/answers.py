"""The file of answers: whole lines that are only ever added, so that any end of the program loses nothing."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llm_atc.errors import BatchError

PART_SUFFIX = ".part"
ID = "batch_req_"
# How each line of ours begins: what is torn and does not begin so is not ours, and is left alone.
_BEGINNING = b'{"id": "' + ID.encode()


class Answers:
    """Answers that are there, and where the next ones go.

    `done` holds the custom_id of each line, `failed` those whose line records an error.
    """

    def __init__(self, descriptor: int, done: set[str] | None = None, failed: set[str] | None = None) -> None:
        self._descriptor = descriptor
        self.done = set() if done is None else done
        self.failed = set() if failed is None else failed

    def add(self, custom_id: str, answer: Mapping[str, object]) -> None:
        """Write one whole line. Raises BatchError when it cannot be written."""
        _write(self._descriptor, _line(answer))
        if answer["error"] is not None:
            self.failed.add(custom_id)
        self.done.add(custom_id)


@contextmanager
def opened(path: Path | None, *, retry_failed: bool = False) -> Iterator[Answers]:
    """The answers in this file, which is made when it is not there; None, and what is no file, is written on.

    What was torn at the end is dropped; with `retry_failed` so are the lines that record an error. Raises
    BatchError when the file holds anything else than answers, or when another process is writing them.
    """
    if path is None:
        yield Answers(1)
        return
    path = path.resolve()
    with _file(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield Answers(file.fileno())
            return
        _hold(file, path)
        done, failed = _mend(file, path)
        if not (retry_failed and failed):
            yield Answers(file.fileno(), done, failed)
            return
        with _without_failed(file, path, failed) as kept:
            yield Answers(kept.fileno(), done - failed)


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise BatchError(
            f"{path} cannot be written: {error.strerror}.", hint=f"ls -la {path.parent}"
        ) from error
    with os.fdopen(descriptor, "r+b", buffering=0) as raw:
        yield raw


def _hold(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BatchError(
            f"Another llm-atc generate is writing to {path}.", hint="wait for it, or give another --output"
        ) from error


def _mend(file: BinaryIO, path: Path) -> tuple[set[str], set[str]]:
    """Read every answer, and make the end whole."""
    done: set[str] = set()
    failed: set[str] = set()
    whole = 0
    for number, line in enumerate(_lines(file), 1):
        answer = _read(line)
        if answer is None:
            if not line.endswith(b"\n") and (line.startswith(_BEGINNING) or _BEGINNING.startswith(line)):
                os.ftruncate(file.fileno(), whole)
                break
            raise BatchError(
                f"Line {number} of {path} is no answer of a batch: nothing is written to this file.",
                hint=f"another --output   (or: mv {path} {path}.old)",
            )
        custom_id, wrong = answer
        done.add(custom_id)
        (failed.add if wrong else failed.discard)(custom_id)
        if not line.endswith(b"\n"):
            _write(file.fileno(), b"\n")
        whole += len(line)
    return done, failed


def _read(line: bytes) -> tuple[str, bool] | None:
    """The id of an answer, and whether it records an error; None for anything else."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not {"custom_id", "response", "error"} <= found.keys():
        return None
    custom_id = found["custom_id"]
    return (custom_id, found["error"] is not None) if isinstance(custom_id, str) else None


@contextmanager
def _without_failed(file: BinaryIO, path: Path, failed: set[str]) -> Iterator[BinaryIO]:
    """A new file in this one's place, with the lines of the others; killed here, the old one stands."""
    part = path.with_name(path.name + PART_SUFFIX)
    part.unlink(missing_ok=True)
    with _file(part) as kept:
        _hold(kept, part)
        for line in _lines(file):
            answer = _read(line)
            if answer is not None and answer[0] not in failed:
                _write(kept.fileno(), line)
        os.fsync(kept.fileno())
        shutil.copymode(path, part)
        part.replace(path)
        yield kept


def _lines(file: BinaryIO) -> Iterator[bytes]:
    with open(os.dup(file.fileno()), "rb") as reader:  # noqa: PTH123  a descriptor has no path
        reader.seek(0)
        yield from reader


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BatchError(f"An answer cannot be written: {error.strerror}.", hint="df -h .") from error


def _line(answer: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(answer, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a character, which JSON can say and UTF-8 cannot
        return json.dumps(answer).encode() + b"\n"
