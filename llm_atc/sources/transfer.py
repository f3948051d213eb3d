"""Checkpoints to and from buckets: several files at once, verified, and continued after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from llm_atc.errors import SourceError
from llm_atc.sources.bucket import Address, Bucket, Stored, corrupt, sha256
from llm_atc.sources.disk import absolute, list_files
from llm_atc.sources.moving import Count, Counted, Done, Moved, Progress, check_room, move_each
from llm_atc.sources.reading import nothing_at

PART_SUFFIX = ".part"
# From the sizes of all files by name, the names of those that are wanted.
Choose = Callable[[Mapping[str, int]], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file of a checkpoint: its name below the address, and its size in bytes."""

    name: str
    size: int


@contextmanager
def open_bucket(address: Address, *, patient: bool = False) -> Iterator[Bucket]:
    """The bucket of this address, closed afterwards. `patient` is for moving files, not for a look."""
    bucket: Bucket
    if address.scheme == "s3://":
        from llm_atc.sources.s3 import S3Bucket

        bucket = S3Bucket(address.bucket, patient=patient)
    else:
        from llm_atc.sources.gcs import GcsBucket

        bucket = GcsBucket(address.bucket, patient=patient)
    try:
        yield bucket
    finally:
        bucket.close()


def list_checkpoint(place: str) -> tuple[Listed, ...]:
    """The files at a bucket's address or in a directory. SourceError when there is nothing."""
    if place.startswith(("/", ".", "~")):
        found = _files_of(absolute(place))
        return tuple(Listed(name=name, size=size) for name, size in found.items())
    address = Address.parse(place)
    with open_bucket(address) as bucket:
        return tuple(
            Listed(name=stored.key.removeprefix(address.prefix), size=stored.size)
            for stored in _stored(bucket, address)
        )


def push(directory: Path, place: str, progress: Progress) -> Moved:
    """Copy a directory to a bucket. Files that are there with the same content are not sent again.

    Hidden files stay here, and what else lies at the address stays there. Raises SourceError.
    """
    address = Address.parse(place)
    root = absolute(str(directory))
    sizes = _files_of(root)
    unfinished = [name for name in sizes if name.endswith(PART_SUFFIX)]
    if unfinished:
        raise SourceError(
            f"{root} is not complete: {unfinished[0]} is left of a pull that was interrupted.",
            hint=f"llm-atc checkpoints pull ADDRESS {root}   (once more), or: rm {root / unfinished[0]}",
        )
    with open_bucket(address, patient=True) as bucket:
        there = {stored.key: stored.size for stored in bucket.files(address.prefix)}
        count = Count(sum(sizes.values()), progress)

        def send(name: str) -> Done:
            with _on_disk(root):
                return _send(bucket, root / name, address.prefix + name, there, count, name)

        return move_each(sizes, send, count)


def pull(
    place: str, directory: Path, progress: Progress, *, mirror: bool = False, choose: Choose | None = None
) -> Moved:
    """Copy a bucket's checkpoint into a directory, which is made when it is not there.

    `choose` says which of its files; all of them without it.
    A file gets its name when it is complete and verified; until then it is NAME.part, which a later pull
    continues. Files that are there with other content are replaced; with `mirror`, files that the bucket
    does not hold are removed. Raises SourceError.
    """
    address = Address.parse(place)
    root = absolute(str(directory))
    with open_bucket(address, patient=True) as bucket:
        stored = {s.key.removeprefix(address.prefix): s for s in _stored(bucket, address)}
        every = {name: s.size for name, s in stored.items()}
        sizes = {name: every[name] for name in choose(every)} if choose else every
        _check_names(sizes, address)
        with _on_disk(root):
            root.mkdir(parents=True, exist_ok=True)
            check_room(root, _to_come(root, sizes))
        count = Count(sum(sizes.values()), progress)

        def get(name: str) -> Done:
            with _on_disk(root):
                return _get(bucket, stored[name], root / name, address, count)

        moved = move_each(sizes, get, count)
    if mirror:
        with _on_disk(root):
            for name in list_files(root).keys() - every.keys():
                (root / name).unlink()
    return moved


def _send(bucket: Bucket, path: Path, key: str, there: dict[str, int], count: Count, name: str) -> Done:
    size = path.stat().st_size
    if there.get(key) == size:
        held = bucket.checksum(key)
        if held is not None and held.agrees(path):
            count.add(size, name)
            return Done(skipped=True)
    count.add(0, name)
    bucket.upload(path, key, sha256(path), lambda sent: count.add(sent, name))
    return Done()


def _get(bucket: Bucket, stored: Stored, target: Path, address: Address, count: Count) -> Done:
    name = stored.key.removeprefix(address.prefix)
    expected = bucket.checksum(stored.key)

    def complete(path: Path) -> bool:
        same_size = path.is_file() and path.stat().st_size == stored.size
        return same_size and (expected is None or expected.agrees(path))

    if complete(target):
        count.add(stored.size, name)
        return Done(skipped=True, verified=expected is not None)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + PART_SUFFIX)
    continued = _continue(bucket, stored, part, count, name)
    if not complete(part):
        part.unlink()
        if continued:  # what was there belonged to another version: take it from the beginning, once
            count.add(-stored.size, name)
            _continue(bucket, stored, part, count, name)
        if not complete(part):
            part.unlink(missing_ok=True)
            raise corrupt(f"{address.scheme}{address.bucket}/{stored.key}", str(target))
    part.replace(target)
    return Done(verified=expected is not None)


def _continue(bucket: Bucket, stored: Stored, part: Path, count: Count, name: str) -> bool:
    """Bring the part to its full size; True when some of it was there before."""
    have = part.stat().st_size if part.exists() else 0
    if have > stored.size:
        part.unlink()
        have = 0
    count.add(have, name)
    with part.open("ab") as file:
        if have < stored.size:
            bucket.download(stored.key, have, cast(BinaryIO, Counted(file, count, name)))
    return have > 0


def _stored(bucket: Bucket, address: Address) -> tuple[Stored, ...]:
    found = bucket.files(address.prefix)
    if not found:
        raise nothing_at(str(address))
    return found


def _files_of(root: Path) -> dict[str, int]:
    if not root.is_dir():
        raise SourceError(f"There is no directory {root}.", hint=f"ls {root.parent}")
    with _on_disk(root):
        sizes = list_files(root)
    if not sizes:
        raise SourceError(f"{root} holds no files.", hint=f"ls -la {root}")
    return sizes


def _check_names(names: Iterable[str], address: Address) -> None:
    """Keys are free text: one that would leave the directory, or hide in it, is refused."""
    for name in names:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "//" in name or "\\" in name or "\0" in name:
            raise SourceError(f"{address} holds a key that is no file's name: {name!r}.")
        if name.endswith(PART_SUFFIX):
            raise SourceError(f"{address} holds a file that is not complete: {name!r}.")


def _to_come(root: Path, sizes: dict[str, int]) -> int:
    missing = sum(size for name, size in sizes.items() if not (root / name).exists())
    return missing - sum(path.stat().st_size for path in root.rglob(f"*{PART_SUFFIX}"))


@contextmanager
def _on_disk(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{error.filename or root} cannot be read or written: {error.strerror or error}.",
            hint=f"ls -la {root}",
        ) from error


__all__ = ["Listed", "Moved", "Progress", "list_checkpoint", "open_bucket", "pull", "push"]
