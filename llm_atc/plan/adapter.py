"""A LoRA adapter's own files: which model it belongs to, and the command that serves the two together."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_atc.errors import ModelUnservable, UsageError
from llm_atc.plan.model import ModelRef, Where

ADAPTER = "adapter_config.json"
# The ranks that vLLM can be made ready for (--max-lora-rank of the pinned one), and the one that it takes.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
USUAL_RANK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What adapter_config.json says: the model that was trained, None where it names none that can be had,
    and the largest rank."""

    base: str | None
    rank: int | None


def read_adapter(config: bytes) -> Adapter:
    """The adapter that this file of PEFT's describes; a file that is damaged says nothing."""
    try:
        read = json.loads(config)
    except ValueError:
        read = None
    found: Mapping[str, Any] = read if isinstance(read, dict) else {}
    pattern = found.get("rank_pattern")
    ranks = (found.get("r"), *(pattern.values() if isinstance(pattern, dict) else ()))
    return Adapter(
        base=_base(found.get("base_model_name_or_path"), found.get("revision")),
        rank=max((rank for rank in ranks if isinstance(rank, int)), default=None),
    )


def alone(ref: ModelRef, config: bytes, held: str) -> ModelUnservable:
    """The error for an adapter that is to be served as if it were a model."""
    adapter = read_adapter(config)
    says = f"{ref.name} is a LoRA adapter, not a model by itself"
    if adapter.base is None:
        return ModelUnservable(
            f"{says}, and does not say of which model on the hub. {held}",
            hint=f"llm-atc serve --name OWNER/BASE {_with(ref, adapter)}",
        )
    return ModelUnservable(
        f"{says}: it belongs to {adapter.base}.",
        hint=f"llm-atc serve --name {shlex.quote(adapter.base)} {_with(ref, adapter)}",
    )


def _with(ref: ModelRef, adapter: Adapter) -> str:
    called = re.sub(r"[^-._a-z0-9]+", "-", ref.name.rstrip("/").rpartition("/")[2].lower()).strip("-.")
    words = "--lora " + shlex.quote(f"{called or 'adapter'}={ref.location}")
    if adapter.rank is None or adapter.rank <= USUAL_RANK:
        return words
    enough = next((rank for rank in RANKS if rank >= adapter.rank), adapter.rank)
    return f"{words} -- --max-lora-rank {enough}"


def _base(name: object, revision: object) -> str | None:
    """The model on the hub; a path is of the machine that the adapter was trained on."""
    if not isinstance(name, str):
        return None
    try:
        ref = ModelRef.parse(name, revision=revision if isinstance(revision, str) and revision else None)
    except UsageError:
        return None
    return str(ref) if ref.where is Where.HUB else None
