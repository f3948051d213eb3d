"""What an hour, a day and a million tokens cost.

For each token that it writes, an engine reads the weights, and the KV cache of every request that it writes
for. While few requests run at once, that is what a step takes (Pope et al., "Efficiently Scaling Transformer
Inference", arXiv:2211.05102, section 2: a roofline by memory bandwidth). All of it is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llm_atc.plan.accelerators import Accelerator, Chip
from llm_atc.plan.fit import Split
from llm_atc.plan.offers import HOURS_A_DAY

SECONDS_AN_HOUR = 3600
MILLION = 1_000_000
GIGABYTE = 10**9
# Of the data sheet's bandwidth, what an engine reaches while it writes: assumed, and measured by nobody here.
REACHED = 0.6
# With more requests at once computing, and not reading, begins to take the time.
MOST_REQUESTS = 64
# GB/s of one chip, from NVIDIA's data sheets (for chips sold with several memories, the slower).
BANDWIDTH: dict[str, int] = {
    "K80": 240,
    "P4": 192,
    "P100": 732,
    "V100": 900,
    "V100-32GB": 900,
    "T4": 320,
    "RTX6000": 672,
    "RTX8000": 672,
    "A100": 1555,
    "A100-80GB": 1935,
    "A100-80GB-SXM": 2039,
    "A10": 600,
    "A10G": 600,
    "A40": 696,
    "RTXA4000": 448,
    "RTXA5000": 768,
    "RTXA6000": 768,
    "RTX3090": 936,
    "L4": 300,
    "L40": 864,
    "L40S": 864,
    "RTX4090": 1008,
    "RTX6000-Ada": 960,
    "GH200": 4000,
    "H100": 2000,
    "H100-SXM": 3350,
    "H100-MEGA": 3350,
    "H200": 4800,
    "H200-SXM": 4800,
    "B200": 7700,
    "GB200": 8000,
    "B300": 8000,
    "RTX5090": 1792,
    "RTXPRO6000": 1597,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second, written for so many requests at once: an estimate."""

    tokens: float
    requests: int


def daily(hourly: float) -> float:
    """US dollars a day."""
    return hourly * HOURS_A_DAY


def rounded(dollars: float | None) -> float | None:
    """Dollars for JSON: four digits after the point."""
    return None if dollars is None else round(dollars, 4)


def told(hourly: float) -> str:
    """What a machine costs, for people: an hour, and a day."""
    return f"${hourly:.2f} an hour (${daily(hourly):.2f} a day)"


class Fitted(Protocol):
    """What is known of a model on an accelerator: a verdict, or an opinion."""

    @property
    def accelerator(self) -> Accelerator: ...
    @property
    def fits(self) -> bool | None: ...
    @property
    def concurrency(self) -> int | None: ...
    @property
    def split(self) -> Split | None: ...


def speed(verdict: Fitted, concurrency: int) -> Speed | None:
    """How fast a model writes where it fits; None where that is not known. Its `split` is for `concurrency`
    requests.

    As many requests as fit at once, each half way through its context. Of one GPU's memory the weights and
    those requests' caches are read for every step; several GPUs read their parts at the same time.
    """
    chip, split = verdict.accelerator.chip, verdict.split
    if chip is None or split is None or not verdict.fits or not verdict.concurrency:
        return None
    requests = min(verdict.concurrency, MOST_REQUESTS)
    each = split.kv / concurrency / 2
    seconds = (split.weights + requests * each) / bandwidth(chip)
    return Speed(tokens=requests / seconds, requests=requests) if seconds else None


def bandwidth(chip: Chip) -> float:
    """Bytes a second that an engine reads from one chip's memory."""
    return BANDWIDTH[chip.name] * GIGABYTE * REACHED


def per_million(hourly: float, found: Speed) -> float:
    """US dollars for a million tokens written, with the machine always that busy."""
    return hourly / (found.tokens * SECONDS_AN_HOUR) * MILLION


def token_price(hourly: float | None, verdict: Fitted, concurrency: int) -> float | None:
    """US dollars for a million tokens there; None where price or speed is not known."""
    found = speed(verdict, concurrency)
    return per_million(hourly, found) if found is not None and hourly is not None else None
