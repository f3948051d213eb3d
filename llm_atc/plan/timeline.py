"""How long launches took, stage by stage, and how long the next one like them may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import ORDER, Stage

# Medians are taken of so many launches at most, the latest: versions and machines change.
REMEMBERED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stage of a launch, and how long it took in seconds."""

    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One launch of a deployment. `begun` is an epoch second; `ready` says whether it came to an answer.

    Launches of the same `likeness` are expected to take as long as each other.
    """

    name: str
    likeness: str
    begun: float
    spans: tuple[Span, ...]
    ready: bool

    @property
    def seconds(self) -> float:
        """From the first stage to the answer, or to the failure."""
        return sum(span.seconds for span in self.spans)


def likeness(plan: Plan, verb: str) -> str:
    """What has to be the same for two launches to be compared: verb, model, engine and kind of machine."""
    machines = ",".join(map(str, plan.accelerators)) or "cpu"
    place = "local" if plan.place.local else f"{plan.place.cloud} {machines} x{plan.num_nodes}"
    return f"{verb} {plan.model.ref.name} {plan.pin.environment} {place}"


def spans_of(marks: Sequence[tuple[Stage, float]], end: float) -> tuple[Span, ...]:
    """Stages from the moments at which they began, which are in order; the last one lasts until `end`.

    `ready` is a moment and no span.
    """
    moments = [*(moment for _, moment in marks), end]
    return tuple(
        Span(stage=stage, seconds=after - before)
        for (stage, before), after in zip(marks, moments[1:], strict=True)
        if stage is not Stage.READY
    )


def usual(launches: Iterable[Launch]) -> Mapping[Stage, float]:
    """The median of each stage, in seconds, over the launches that came to an answer; empty without any."""
    from statistics import median  # takes milliseconds to load, and most commands need no median

    ready = [one for one in launches if one.ready][-REMEMBERED:]
    found: dict[Stage, list[float]] = {}
    for launch in ready:
        for span in launch.spans:
            found.setdefault(span.stage, []).append(span.seconds)
    return {stage: median(found[stage]) for stage in ORDER if stage in found}
