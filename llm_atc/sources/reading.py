"""Look at a checkpoint in a bucket, whichever kind of bucket it is."""

from __future__ import annotations

from dataclasses import replace

from llm_atc.errors import SourceError
from llm_atc.plan.checkpoint import read_checkpoint
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.quantization import parts_of
from llm_atc.sources.bucket import Address, Bucket, Stored


def look_in_bucket(ref: ModelRef, bucket: Bucket) -> ModelSpec:
    """What lies at the reference's address. The address of a GGUF file means its folder and that file.

    Raises SourceError when nothing is there, ModelUnservable when no engine can load it.
    """
    address = Address.parse(ref.location)
    files = bucket.files(address.prefix)
    if files:
        return _read(ref, address.prefix, files, bucket)
    folder = address.path.rpartition("/")[0]
    beside = {found.key: found for found in bucket.files(f"{folder}/" if folder else "")}
    if address.path not in beside:
        raise nothing_at(str(address))
    alone = tuple(beside[key] for key in parts_of(address.path, beside))
    above = replace(ref, location=str(replace(address, path=folder)))
    return _read(above, f"{folder}/" if folder else "", alone, bucket)


def _read(ref: ModelRef, prefix: str, files: tuple[Stored, ...], bucket: Bucket) -> ModelSpec:
    sizes = {found.key.removeprefix(prefix): found.size for found in files}
    return read_checkpoint(
        ref, sizes, lambda name, length: bucket.head(prefix + name, length) if sizes[name] else b""
    )


def nothing_at(address: str) -> SourceError:
    """The bucket is there, and holds nothing at this address."""
    return SourceError(
        f"Nothing lies at {address}.", hint=f"llm-atc checkpoints ls {address.rpartition('/')[0] or address}"
    )
