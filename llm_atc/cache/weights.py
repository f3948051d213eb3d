"""A commit's files between the hub's cache on this disk and the bucket.

On the disk the hub's cache has links to blobs; in the bucket lie the files by their names. A file that lies
where the link would be is the same to huggingface_hub, which for a pinned commit asks no further.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from llm_atc.cache.bucket import Bucket

LIST = "complete.json"
PART = ".part"


class Damaged(Exception):
    """The bucket holds something else than the list says."""


def take(bucket: Bucket, start: str, snapshot: Path) -> tuple[int, int] | None:
    """Bring what is listed and not here: how many files and bytes. None where the bucket has no whole commit.

    Raises Damaged; what came until then is whole, and the engine downloads the rest.
    """
    text = bucket.read(start + LIST)
    if text is None:
        return None
    count = size = 0
    for name, length in sorted(_listed(text).items()):
        target = snapshot / name
        if target.exists() and target.stat().st_size == length:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + PART)
        bucket.download(start + name, part)
        if part.stat().st_size != length:
            part.unlink()
            raise Damaged(f"{name} has another size than {LIST} says")
        part.replace(target)
        count, size = count + 1, size + length
    return count, size


def put(bucket: Bucket, start: str, snapshot: Path) -> tuple[int, int] | None:
    """Take there what is here and not listed, and list it last: how many files and bytes; None for nothing.

    A commit never changes, so two machines that do this at once write the same.
    """
    here = {
        path.relative_to(snapshot).as_posix(): path.stat().st_size
        for path in snapshot.rglob("*")
        if path.is_file() and path.suffix != PART
    }
    text = bucket.read(start + LIST)
    listed = _listed(text) if text is not None else {}
    new = {name: size for name, size in sorted(here.items()) if listed.get(name) != size}
    if not new:
        return None
    for name in new:
        bucket.upload((snapshot / name).resolve(), start + name)
    # Asked again: another machine may have listed files meanwhile.
    text = bucket.read(start + LIST)
    everything = (_listed(text) if text is not None else {}) | new
    bucket.write(start + LIST, json.dumps(everything, indent=1, sort_keys=True).encode())
    return len(new), sum(new.values())


def _listed(text: bytes) -> dict[str, int]:
    """Each file's size. Raises Damaged for what is no list, or leads out of the folder."""
    try:
        found = {str(name): int(size) for name, size in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        raise Damaged(f"{LIST} is no list of files") from None
    for name in found:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise Damaged(f"{LIST} names {name!r}")
    return found
