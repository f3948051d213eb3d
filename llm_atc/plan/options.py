"""What an engine's own parser takes, option by option: the pinned version's list, as values.

The lists ship with the package (`plan/data/`), made from the engines themselves by
`python -m llm_atc.engines.options --write`; `llm_atc.store.engine_options` loads them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

from llm_atc.plan.engine import EngineName
from llm_atc.plan.shapes import Shape

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Options: TypeAlias = dict[str, Json]


class Kind(StrEnum):
    """What an option does on a command line."""

    VALUE = "value"  # takes one value, or several
    FLAG = "flag"  # true when it stands there
    SWITCH = "switch"  # --x is true, --no-x is false
    APPEND = "append"  # each time one value more
    LORA = "lora"  # NAME=PATH or JSON, several
    HELP = "help"  # prints something and ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option: `name` is its long flag, `flags` every spelling, `dest` what its value is called.

    `type` names a converter of `plan.values`; `optional` says that '' and 'None' mean none; `nargs` is
    None for one value, '+', '?' or a number; `bounds` are checked after parsing; `config` names the shape
    of a JSON value.
    """

    name: str
    flags: tuple[str, ...]
    dest: str
    kind: Kind
    type: str
    optional: bool = False
    nargs: str | int | None = None
    const: Json = None
    choices: tuple[Json, ...] | None = None
    default: Json = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    config: str | None = None
    group: str | None = None
    deprecated: bool = False
    help: str = ""
    negatives: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Option:
        """An entry of a data file."""
        choices = data.get("choices")
        default = False if data["type"] == "flag" else None
        read = {"default": default, **data, "kind": Kind(data["kind"]), "flags": tuple(data.get("flags", ()))}
        read["choices"] = tuple(choices) if choices else None
        negatives = data.get("negatives")
        if negatives is None and read["kind"] is Kind.SWITCH:
            negatives = [flag for flag in data["flags"] if flag.startswith("--no-")]
        read["negatives"] = tuple(negatives or ())
        return cls(**read)

    @property
    def positives(self) -> tuple[str, ...]:
        """The spellings that do not negate."""
        return tuple(flag for flag in self.flags if flag not in self.negatives)

    @property
    def positional(self) -> bool:
        """Whether it is given by its place and not by a flag."""
        return not self.flags


@dataclass(frozen=True, kw_only=True, eq=False)
class OptionSet:
    """Every option of one engine at one version, and the shapes of its JSON values."""

    engine: EngineName
    version: str
    options: tuple[Option, ...]
    configs: Mapping[str, Shape]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> OptionSet:
        """The content of a data file."""
        return cls(
            engine=EngineName(data["engine"]),
            version=data["version"],
            options=tuple(Option.read(entry) for entry in data["options"]),
            configs={name: Shape.read(spec) for name, spec in data.get("configs", {}).items()},
        )

    @property
    def title(self) -> str:
        """The engine and its version in words: `vLLM 0.32.0`."""
        return f"{'vLLM' if self.engine is EngineName.VLLM else 'llama-server'} {self.version}"

    @cached_property
    def by_dest(self) -> Mapping[str, Option]:
        """Options by what their values are called."""
        return {option.dest: option for option in self.options}

    @cached_property
    def by_flag(self) -> Mapping[str, Option]:
        """Options by every spelling, negatives too."""
        return {flag: option for option in self.options for flag in option.flags}

    def nearest(self, flag: str) -> str | None:
        """The flag most like this one, dashes or underscores; None when nothing is near."""
        name = flag.partition("=")[0].partition(".")[0].replace("_", "-")
        close = difflib.get_close_matches(name, self.by_flag, n=1, cutoff=0.6)
        return close[0] if close else None
