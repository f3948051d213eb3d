"""The headers of weight files: every tensor's name, dtype, shape and bytes, from a file's first bytes alone.

safetensors: a length (u64, little endian), then so many bytes of JSON. Source: the format's description,
huggingface.co/docs/safetensors. GGUF: see `llm_atc.plan.gguf`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LENGTH_BYTES = 8
# safetensors itself refuses a longer header.
HEADER_LIMIT = 100_000_000
# Bits of one value.
_BITS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "F16": 16,
    "BF16": 16,
    "I16": 16,
    "U16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}


class BadHeader(ValueError):
    """The bytes are no header of this format, or are cut short. The message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor as it is stored. `dtype` is the format's own word for it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def values(self) -> int:
        """How many values it holds as stored; packed quantizations hold several weights in one."""
        return math.prod(self.shape)


def safetensors_length(head: bytes) -> int:
    """The bytes of a whole header, its length included, from a file's first eight bytes. BadHeader."""
    if len(head) < LENGTH_BYTES:
        raise BadHeader("it ends within its first eight bytes")
    (length,) = struct.unpack_from("<Q", head)
    if not 2 <= length <= HEADER_LIMIT:
        raise BadHeader(f"its header would be {length} bytes long")
    return LENGTH_BYTES + int(length)


def read_safetensors(head: bytes) -> tuple[Tensor, ...]:
    """The tensors of a file whose header these bytes begin with, in the order of the data. BadHeader."""
    end = safetensors_length(head)
    if len(head) < end:
        raise BadHeader("its header is cut short")
    try:
        read = json.loads(head[LENGTH_BYTES:end])
    except ValueError as error:
        raise BadHeader("its header is not JSON") from error
    if not isinstance(read, dict):
        raise BadHeader("its header is no JSON object")
    found = [_tensor(name, entry) for name, entry in read.items() if name != "__metadata__"]
    return tuple(tensor for _, tensor in sorted(found, key=lambda pair: (pair[0], pair[1].name)))


def _tensor(name: str, entry: object) -> tuple[int, Tensor]:
    try:
        dtype, shape, (start, end) = _entry(entry)
    except (KeyError, TypeError, ValueError) as error:
        raise BadHeader(f"its header says nothing clear of {name!r}") from error
    tensor = Tensor(name=name, dtype=dtype, shape=shape, bytes=end - start)
    bits = _BITS.get(dtype)
    if bits is not None and tensor.values * bits != tensor.bytes * 8:
        raise BadHeader(f"{name!r} has {tensor.bytes} bytes for {tensor.values} values of {dtype}")
    return start, tensor


def _entry(entry: object) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    if not isinstance(entry, Mapping):
        raise TypeError
    start, end = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(size) for size in entry["shape"])
    if start > end or any(size < 0 for size in shape):
        raise ValueError
    return str(entry["dtype"]), shape, (start, end)


def header_of(head: Callable[[int], bytes], guess: int = 64 * 1024) -> bytes:
    """A whole safetensors header, where `head(n)` gives a file's first n bytes; asks twice at the most."""
    first = head(guess)
    needed = safetensors_length(first)
    return first if len(first) >= needed else head(needed)


def check_size(size: int, told: int, *, exact: bool = True) -> None:
    """Whether a file of `size` bytes is as long as its header tells; BadHeader when it is not.

    safetensors refuses a longer file too; GGUF's, without `exact`, may be padded at the end.
    """
    if size < told:
        raise BadHeader(f"it is cut short: {size} bytes of {told}")
    if exact and size > told:
        raise BadHeader(f"it has {size - told} bytes that its header does not tell of")
