"""The option lists of the pinned engines and the models they know, which ship with the package."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from llm_atc import plan
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.engine import EngineName
from llm_atc.plan.known_models import KnownModels
from llm_atc.plan.options import OptionSet

PINS = {EngineName.VLLM: vllm.CURRENT.pin, EngineName.LLAMA_CPP: llama_cpp.PIN}


def file_name(engine: EngineName) -> str:
    """The data file's name in `llm_atc/plan/data/`."""
    return f"{PINS[engine].environment}.json"


@cache
def engine_options(engine: EngineName) -> OptionSet:
    """Every option of the pinned engine, read once."""
    return OptionSet.read(_data(file_name(engine)))


@cache
def known_models(engine: EngineName) -> KnownModels:
    """What the pinned engine can load, read once."""
    return KnownModels.read(_data(f"{PINS[engine].environment}-models.json"))


def _data(name: str) -> Any:
    return json.loads(Path(plan.__file__).with_name("data").joinpath(name).read_text(encoding="utf-8"))
