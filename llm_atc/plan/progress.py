"""The stages from a command to an answering endpoint, and how the engines' own logs tell of them."""

from __future__ import annotations

import re
from enum import StrEnum


class Stage(StrEnum):
    """What is being waited for, in order."""

    PROVISION = "provision"
    SET_UP = "set up"
    WEIGHTS = "weights"
    ENGINE = "engine start"
    READY = "ready"


ORDER = tuple(Stage)
# A task prints this before each of its stages; see task_templates/.
MARK = "[llm-atc] stage: "
_TOLD_BY = (
    (Stage.READY, re.compile(r"Application startup complete|server is listening on|all slots are idle")),
    (
        Stage.ENGINE,
        re.compile(r"Loading weights took|Model loading took|model loaded|load_model: .*done|warming up"),
    ),
    (Stage.WEIGHTS, re.compile(r"Starting to load model|Loading safetensors|load_tensors:|loading model")),
)


def stage_of(line: str) -> Stage | None:
    """The stage that this line of a log says has begun; None when it says nothing of stages."""
    _, found, rest = line.partition(MARK)
    if found:
        name = rest.strip()
        return next((stage for stage in ORDER if stage == name), None)
    return next((stage for stage, pattern in _TOLD_BY if pattern.search(line)), None)


def later(a: Stage, b: Stage | None) -> Stage:
    """The later of two stages: a log line of an earlier one never takes progress back."""
    return a if b is None or ORDER.index(a) >= ORDER.index(b) else b
