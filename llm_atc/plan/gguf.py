"""The header of a GGUF file: its keys and its tensors.

A magic word, a version, two counts, then keys with typed values, then each tensor's name, shape and kind.
Source: the GGUF specification (ggml/docs/gguf.md); bytes of each kind from ggml's blocks (ggml-common.h).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from llm_atc.plan.tensors import BadHeader, Tensor

MAGIC = b"GGUF"
Value = int | float | str | bool | tuple["Value", ...]
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# Of each kind of tensor: its name, how many values make a block, and the bytes of a block.
_KINDS: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gguf:
    """A GGUF file's keys and tensors. `size` is the least that the whole file must have, in bytes."""

    keys: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    size: int = 0

    def number(self, name: str) -> int | None:
        """A number under the file's own architecture, such as `block_count`; the largest of a list."""
        found = self.keys.get(f"{self.keys.get('general.architecture')}.{name}")
        if isinstance(found, tuple):
            found = max((one for one in found if isinstance(one, int)), default=None)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def length(self, name: str) -> int | None:
        """How many elements a list under this key has."""
        found = self.keys.get(name)
        return len(found) if isinstance(found, tuple) else None


class CutShort(BadHeader):
    """The header goes on behind these bytes: read more and try again."""


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def take(self, form: str) -> int | float | bool:
        size = struct.calcsize(f"<{form}")
        self._need(size)
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += size
        found: int | float | bool = value
        return found

    def count(self, form: str = "Q", most: int = 1 << 40) -> int:
        value = int(self.take(form))
        if value > most:
            raise BadHeader(f"a length of {value} stands in its header")
        return value

    def text(self) -> str:
        length = self.count(most=1 << 26)
        self._need(length)
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            of = self.count("I")
            return tuple(self.value(of) for _ in range(self.count(most=1 << 26)))
        if kind not in _NUMBERS:
            raise BadHeader(f"a value of the unknown type {kind} stands in its header")
        return self.take(_NUMBERS[kind])

    def _need(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise CutShort("its header is cut short")


def read_gguf_header(head: bytes) -> Gguf:
    """What these first bytes say. CutShort when there are too few, BadHeader when it is no GGUF file."""
    if head[:4] != MAGIC:
        raise BadHeader("it does not begin as a GGUF file does")
    reader = _Reader(head, 4)
    version = reader.count("I")
    if not 2 <= version <= 3:
        raise BadHeader(f"it is of GGUF version {version}")
    tensors, keys = reader.count(most=1 << 24), reader.count(most=1 << 20)
    found: dict[str, Value] = {}
    for _ in range(keys):
        name = reader.text()
        found[name] = reader.value(reader.count("I"))
    read = [_tensor(reader) for _ in range(tensors)]
    align = found.get("general.alignment", 32)
    data = -(-reader.at // align) * align if isinstance(align, int) and align else reader.at
    ends = [offset + tensor.bytes for offset, tensor in read]
    return Gguf(
        keys=found,
        tensors=tuple(tensor for _, tensor in read),
        size=data + max(ends) if ends else reader.at,
    )


def _tensor(reader: _Reader) -> tuple[int, Tensor]:
    """Where its data begins, counted from the first tensor's; and the tensor."""
    name = reader.text()
    shape = tuple(reader.count() for _ in range(reader.count("I", most=8)))
    kind = reader.count("I")
    offset = reader.count()
    if kind not in _KINDS:
        raise BadHeader(f"{name} is of kind {kind}, which llm-atc does not know")
    word, block, size = _KINDS[kind]
    return offset, Tensor(name=name, dtype=word, shape=shape, bytes=-(-math.prod(shape) // block) * size)
