"""Where llm-atc keeps things and what its environment says, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`home` holds state, secrets, engines, models and logs; `environ` is the environment as it was found."""

    home: Path
    environ: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """`LLM_ATC_HOME` moves the home, which is `~/.llm-atc` otherwise."""
        given = environ.get("LLM_ATC_HOME")
        home = Path(given) if given else Path.home() / ".llm-atc"
        return cls(home=home.expanduser().absolute(), environ=environ)
