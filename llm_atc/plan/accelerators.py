"""Accelerators by the names that SkyPilot's catalogue uses, and what an engine must know of each.

Memory is GiB for each accelerator as its data sheet gives it; the compute capability is the one that
NVIDIA lists for the chip (developer.nvidia.com/cuda-gpus). `USABLE` is what a program really gets, as CUDA
reports it and PyTorch's out-of-memory messages print it ("GPU 0 has a total capacity of … GiB").
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from llm_atc.errors import OfferError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """What is soldered on: memory in GiB, compute capability as (major, minor)."""

    name: str
    memory: int
    capability: tuple[int, int]

    @property
    def usable(self) -> float:
        """GiB that a program gets: as reported, or the data sheet's times the smallest share of all."""
        return USABLE.get(self.name, round(self.memory * SMALLEST_SHARE, 2))

    @property
    def reported(self) -> bool:
        """Whether `usable` was read from such a chip, and is no estimate."""
        return self.name in USABLE


def _chip(name: str, memory: int, major: int, minor: int) -> Chip:
    return Chip(name=name, memory=memory, capability=(major, minor))


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        _chip("K80", 12, 3, 7),
        _chip("P4", 8, 6, 1),
        _chip("P100", 16, 6, 0),
        _chip("V100", 16, 7, 0),
        _chip("V100-32GB", 32, 7, 0),
        _chip("T4", 16, 7, 5),
        _chip("RTX6000", 24, 7, 5),
        _chip("RTX8000", 48, 7, 5),
        _chip("A100", 40, 8, 0),
        _chip("A100-80GB", 80, 8, 0),
        _chip("A100-80GB-SXM", 80, 8, 0),
        _chip("A10", 24, 8, 6),
        _chip("A10G", 24, 8, 6),
        _chip("A40", 48, 8, 6),
        _chip("RTXA4000", 16, 8, 6),
        _chip("RTXA5000", 24, 8, 6),
        _chip("RTXA6000", 48, 8, 6),
        _chip("RTX3090", 24, 8, 6),
        _chip("L4", 24, 8, 9),
        _chip("L40", 48, 8, 9),
        _chip("L40S", 48, 8, 9),
        _chip("RTX4090", 24, 8, 9),
        _chip("RTX6000-Ada", 48, 8, 9),
        _chip("GH200", 96, 9, 0),
        _chip("H100", 80, 9, 0),
        _chip("H100-SXM", 80, 9, 0),
        _chip("H100-MEGA", 80, 9, 0),
        _chip("H200", 141, 9, 0),
        _chip("H200-SXM", 141, 9, 0),
        _chip("B200", 180, 10, 0),
        _chip("GB200", 186, 10, 0),
        _chip("B300", 288, 10, 3),
        _chip("RTX5090", 32, 12, 0),
        _chip("RTXPRO6000", 96, 12, 0),
    )
}
# From public reports, one of each: T4 CatVTON#133, L4 evo2#190, L40 Qwen3-VL#2097, L40S Wan2.1#205 (44.53
# there, the chip is the L40's), RTXA4000 VGGT-Long#6, RTX4090 lerf#73, GH200 litgpt#1892, B200
# pytorch/ao#4002. V100, A100, A10G and H100: what PyTorch's messages commonly show, without a report to cite.
USABLE: dict[str, float] = {
    "T4": 14.56,
    "V100": 15.77,
    "V100-32GB": 31.73,
    "L4": 22.03,
    "A10G": 21.98,
    "L40": 44.40,
    "L40S": 44.40,
    "RTXA4000": 15.61,
    "RTX4090": 23.65,
    "A100": 39.38,
    "A100-80GB": 79.15,
    "A100-80GB-SXM": 79.15,
    "H100": 79.10,
    "H100-SXM": 79.10,
    "GH200": 94.50,
    "B200": 178.35,
}
SMALLEST_SHARE = 0.91
_SPELLINGS = {name.lower(): name for name in CHIPS}
_ACCELERATOR = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._-]*)(?::(?P<count>[^:]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """So many chips of one kind in one machine: `A100-80GB:2`."""

    name: str
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Accelerator:
        """Read `NAME` or `NAME:COUNT`; a known name gets its catalogue spelling, whatever its case.

        Raises UsageError when the text has another shape or the count is not a whole number from 1 up.
        """
        found = _ACCELERATOR.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                f"Accelerator {text!r} is not NAME:COUNT.", hint="for example: --accelerator A100:1"
            )
        count = found["count"]
        if count is not None and (not count.isascii() or not count.isdigit() or not 1 <= int(count) <= 64):
            raise UsageError(
                f"Accelerator {text!r}: {count!r} is not a number of accelerators from 1 to 64.",
                hint=f"--accelerator {found['name']}:1",
            )
        name = _SPELLINGS.get(found["name"].lower(), found["name"])
        return cls(name=name, count=int(count) if count else 1)

    @property
    def chip(self) -> Chip | None:
        """What is known of the chip; None for a name that is not in the table."""
        return CHIPS.get(self.name)

    def __str__(self) -> str:
        return f"{self.name}:{self.count}"


def nearest(name: str, names: tuple[str, ...] | None = None) -> str | None:
    """The known accelerator whose name is most like this one, or None when nothing is near."""
    known = {n.lower(): n for n in names} if names else _SPELLINGS
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return known[close[0]] if close else None


def unknown_accelerator(accelerator: Accelerator, names: tuple[str, ...] | None = None) -> OfferError:
    """The error for a name that nobody sells, with the nearest that is sold."""
    close = nearest(accelerator.name, names)
    return OfferError(
        f"No accelerator is called {accelerator.name!r}."
        + (f" Did you mean {close}:{accelerator.count}?" if close else ""),
        hint=f"--accelerator {close}:{accelerator.count}" if close else "sky gpus list",
    )
