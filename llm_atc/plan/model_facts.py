"""A model as memory sees it."""

from __future__ import annotations

from dataclasses import dataclass

from llm_atc.plan.architecture import Architecture, Unknown
from llm_atc.plan.model import ModelSpec
from llm_atc.plan.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What its files' headers told: its shape, where that is understood, and its weights."""

    spec: ModelSpec
    architecture: Architecture | Unknown
    weights: Weights
