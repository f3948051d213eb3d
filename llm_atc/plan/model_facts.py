"""A model as memory sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_atc.plan.architecture import Architecture, Unknown
from llm_atc.plan.model import ModelSpec
from llm_atc.plan.papers import Papers
from llm_atc.plan.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What its files' headers told: its shape, where that is understood, its weights, and what lies beside
    them."""

    spec: ModelSpec
    architecture: Architecture | Unknown
    weights: Weights
    papers: Papers = field(default_factory=Papers)
