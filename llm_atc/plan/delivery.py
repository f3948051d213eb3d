"""How a model's weights come to a cloud machine: the ways there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from llm_atc.errors import UsageError

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?")


class Way(StrEnum):
    """How weights come to a machine.

    HUB: the engine downloads them. COPY: they are put on the disk before the job. STREAM: the engine reads
    them from the bucket straight into the accelerator's memory, at each of its starts.
    """

    HUB = "hub"
    COPY = "copy"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The way that was chosen, and why, in a sentence. `beside` is what it needs installed beside the
    engine, `arguments` what the engine must be told; `cache` is where the next machine finds the same."""

    way: Way
    why: str
    beside: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    cache: str | None = None


def read_way(text: str | None) -> Way | None:
    """`copy` or `stream`; None, or `auto`, leaves it to llm-atc."""
    return None if text in (None, "auto") else Way(text)


def read_cache(text: str | None) -> str | None:
    """`s3://BUCKET/PREFIX`, without a slash at its end. Raises UsageError."""
    if text is None or _BUCKET.fullmatch(text):
        return text.rstrip("/") if text else None
    raise UsageError(f"--cache {text!r} is no place in a bucket of S3.", hint="--cache s3://BUCKET/llm-atc")
