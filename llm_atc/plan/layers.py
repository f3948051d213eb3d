"""Settings in layers: what each says, and which of them wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llm_atc.plan.keys import KEYS, Value, Values

FLAG = "command line"
BUILT_IN = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says, and how that place is called: `command line`, or a file's path."""

    source: str
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A value with where it came from."""

    value: Value
    source: str


Settled = Mapping[str, Sourced]


def settle(layers: Iterable[Layer]) -> Settled:
    """Every setting with the value of the first layer that says anything of it, by key.

    A layer that says None has spoken. What nobody speaks of has its built-in value.
    """
    found = {key.name: Sourced(value=key.default, source=BUILT_IN) for key in KEYS}
    for layer in reversed(tuple(layers)):
        found |= {name: Sourced(value=value, source=layer.source) for name, value in layer.values.items()}
    return found
