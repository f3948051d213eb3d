"""What the pinned engines can load, from the lists in `data/` that the engines themselves told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_atc.plan.engine import EngineName

# Parsers are named after families of models, architectures after classes: `qwen3_xml`, `Qwen3ForCausalLM`.
_WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModels:
    """The architectures that one version of an engine loads, and the parsers that it has.

    `transformers` are those that transformers has besides, which vLLM may run through it. `dropped` are
    architectures with the last version that had them, `elsewhere` those that a plug-in brings.
    `chat_templates` are the model types for which the engine brings a template of its own. `quantizations`
    are its methods; each has the files of which one must be there where config.json names no method.
    """

    engine: EngineName
    version: str
    architectures: frozenset[str]
    transformers: frozenset[str] = frozenset()
    multimodal: frozenset[str] = frozenset()
    dropped: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    chat_templates: frozenset[str] = frozenset()
    quantizations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tool_parsers: tuple[str, ...] = ()
    reasoning_parsers: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> KnownModels:
        """From a data file's content."""
        return cls(
            engine=EngineName(found["engine"]),
            version=found["version"],
            architectures=frozenset(found["architectures"]),
            transformers=frozenset(found.get("transformers", ())),
            multimodal=frozenset(found.get("multimodal", ())),
            dropped=found.get("dropped", {}),
            elsewhere=found.get("elsewhere", {}),
            chat_templates=frozenset(found.get("chat_templates", ())),
            quantizations={name: tuple(files) for name, files in found.get("quantizations", {}).items()},
            tool_parsers=tuple(found.get("tool_parsers", ())),
            reasoning_parsers=tuple(found.get("reasoning_parsers", ())),
        )

    def why_not(self, architecture: str) -> str | None:
        """Why the engine does not know an architecture, in a sentence; None when it does."""
        if architecture in self.architectures:
            return None
        name = f"{self.engine} {self.version}"
        if last := self.dropped.get(architecture):
            return f"{architecture} was in {self.engine} until {last}, and is not in {name}."
        if plugin := self.elsewhere.get(architecture):
            return f"{architecture} comes with a plug-in for {self.engine} ({plugin}), not with {name}."
        close = difflib.get_close_matches(architecture, self.architectures, n=1, cutoff=0.85)
        return f"{name} does not know the architecture {architecture}." + (
            f" The nearest that it knows is {close[0]}." if close else ""
        )

    def tool_parsers_like(self, *names: str) -> tuple[str, ...]:
        """Tool-call parsers whose names fit a model's: a hint, since vLLM itself has no such table."""
        return _alike(self.tool_parsers, names)

    def reasoning_parsers_like(self, *names: str) -> tuple[str, ...]:
        """The same of reasoning parsers."""
        return _alike(self.reasoning_parsers, names)


Known = Callable[[EngineName], KnownModels]


def _alike(parsers: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Parsers whose name begins one of the names: the whole of it, or its first word where that is a
    generation (`qwen3_xml` for Qwen3)."""
    told = ["".join(_WORDS.split(name.rsplit("/", 1)[-1].lower())) for name in names if name]

    def fitting(word: Callable[[str], str]) -> tuple[str, ...]:
        stems = {parser: "".join(_WORDS.split(word(parser).lower())) for parser in parsers}
        return tuple(
            p for p, stem in stems.items() if len(stem) > 3 and any(n.startswith(stem) for n in told)
        )

    def generation(parser: str) -> str:
        first = parser.partition("_")[0]
        return first if first[-1:].isdigit() else ""

    return fitting(str) or fitting(generation)
