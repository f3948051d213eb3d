"""What the engine compiled, as one archive: the bucket has it whole or not at all."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path

from llm_atc.cache.bucket import Bucket

# Downloads, and what the machine says of its own wiring.
_LEFT_OUT = ("assets", "gpu_p2p_access_cache")


def take(bucket: Bucket, key: str, folder: Path) -> bool:
    """Bring it, where there is none here yet; whether it came."""
    if folder.exists() or not bucket.has(key):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        archive = draft / "archive"
        bucket.download(key, archive)
        with tarfile.open(archive) as opened:
            opened.extractall(draft / "files", filter="data")
        (draft / "files").rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def put(bucket: Bucket, key: str, folder: Path) -> bool:
    """Take it there, unless it is there or there is nothing; whether it went."""
    found = [path for path in sorted(folder.glob("*")) if not path.name.startswith(_LEFT_OUT)]
    if not found or bucket.has(key):
        return False
    with tempfile.TemporaryDirectory() as draft:
        archive = Path(draft) / "archive"
        with tarfile.open(archive, "w:gz", compresslevel=1) as opened:
            for path in found:
                opened.add(path, path.name)
        bucket.upload(archive, key)
    return True
