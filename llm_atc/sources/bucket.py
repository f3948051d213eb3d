"""Buckets: an address, what lies there, and what every kind of bucket can do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from llm_atc.errors import SourceError, UsageError
from llm_atc.plan.model import BUCKET_SCHEMES

# Where llm-atc records the SHA-256 of what it wrote, in an object's own metadata.
SHA256_KEY = "llm-atc-sha256"
CHUNK = 1024 * 1024
# Seconds. Together with the retries a look at a bucket that does not answer ends within ten.
CONNECT_TIMEOUT = 3
LOOK_TIMEOUT = 3
MOVE_TIMEOUT = 60

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`s3://BUCKET/PATH` or `gs://BUCKET/PATH`; `path` has no slash at its ends and may be empty."""

    scheme: str
    bucket: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address. UsageError for anything else."""
        for scheme in BUCKET_SCHEMES:
            if text.startswith(scheme):
                bucket, _, path = text.removeprefix(scheme).partition("/")
                if bucket:
                    return cls(scheme=scheme, bucket=bucket, path=path.strip("/"))
        raise UsageError(f"{text!r} is not a bucket's address.", hint="s3://BUCKET/PATH or gs://BUCKET/PATH")

    @property
    def prefix(self) -> str:
        """What the keys of everything below this address begin with."""
        return f"{self.path}/" if self.path else ""

    def __str__(self) -> str:
        return f"{self.scheme}{self.bucket}" + (f"/{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One object: its whole key, and its size in bytes."""

    key: str
    size: int


class SumKind(StrEnum):
    """The checksums that buckets keep. `MD5_PARTS` is S3's ETag of an upload in parts."""

    SHA256 = "sha256"
    MD5 = "md5"
    MD5_PARTS = "md5 of parts"
    CRC32C = "crc32c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A checksum of an object's content, in hexadecimal; `part` is the parts' size in bytes."""

    kind: SumKind
    value: str
    part: int = 0

    def agrees(self, path: Path) -> bool:
        """Whether the file has this checksum. Reads all of it."""
        match self.kind:
            case SumKind.SHA256:
                return sha256(path) == self.value
            case SumKind.MD5:
                return md5(path) == self.value
            case SumKind.MD5_PARTS:
                return md5_of_parts(path, self.part) == self.value
            case SumKind.CRC32C:
                return crc32c(path) == self.value


class Bucket(Protocol):
    """A bucket that is open: made with its name, closed at the end.

    Every call raises SourceError when the bucket refuses or does not answer, and none of them shows a
    credential. The objects are safe to use from several threads.
    """

    def files(self, prefix: str) -> tuple[Stored, ...]:
        """The objects whose keys begin so, by key; empty when there are none. Folder markers are left out."""

    def head(self, key: str, length: int) -> bytes:
        """The first bytes of an object, at most `length`."""

    def checksum(self, key: str) -> Sum | None:
        """The best checksum that is kept of the object; None when the bucket keeps none that is usable."""

    def download(self, key: str, start: int, file: BinaryIO) -> None:
        """Write the object's bytes from `start` on to the file, in pieces."""

    def upload(self, path: Path, key: str, digest: str, told: Told) -> None:
        """Store the file under the key, with its SHA-256 recorded; `told` hears of bytes as they go.

        The bucket checks what arrives; SourceError when it differs from the file. Where the bucket keeps
        the parts of an upload that was broken off, it continues.
        """

    def close(self) -> None:
        """Close its connections."""


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """The file's MD5, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def md5_of_parts(path: Path, part: int) -> str:
    """S3's ETag of an upload in parts: the MD5 of the parts' MD5s, a dash, and their number."""
    digests = []
    with path.open("rb") as file:
        while piece := file.read(part):
            digests.append(hashlib.md5(piece, usedforsecurity=False).digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def crc32c(path: Path) -> str:
    """The file's CRC-32C (Castagnoli), in hexadecimal."""
    import google_crc32c

    make: Any = google_crc32c.Checksum
    value = make()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            value.update(piece)
    return bytes(value.digest()).hex()


def no_bucket(address: str, command: str) -> SourceError:
    """The bucket is absent."""
    return SourceError(f"There is no bucket {address}.", hint=command)


def no_object(address: str) -> SourceError:
    """The object is absent, perhaps since a moment ago."""
    return SourceError(f"There is no object {address}.", hint=f"llm-atc checkpoints ls {address}")


def no_permission(address: str, command: str) -> SourceError:
    """These credentials do not open it."""
    return SourceError(f"These credentials may not read or write {address}.", hint=command)


def no_credentials(address: str, why: str, command: str) -> SourceError:
    """There are no credentials, or none that are accepted."""
    return SourceError(f"{address} cannot be opened: {why}.", hint=command)


def unreachable(address: str, endpoint: str, command: str) -> SourceError:
    """Nothing answers where the bucket should be."""
    return SourceError(f"{address} is out of reach: {endpoint} does not answer.", hint=command)


def corrupt(address: str, where: str) -> SourceError:
    """What arrived is not what was sent."""
    return SourceError(f"The checksum of {address} is not that of {where}: the copy is damaged.")
