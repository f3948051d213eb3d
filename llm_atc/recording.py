"""A reporter that also keeps when each stage began, so that the next launch can tell how long it may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import ORDER, Stage
from llm_atc.plan.timeline import Launch, likeness, spans_of, usual
from llm_atc.ports import Clock, Reporter, World


class Recorder:
    """Tells everything on, and keeps the moment at which each stage was told of first."""

    def __init__(self, report: Reporter, clock: Clock) -> None:
        self._report, self._clock = report, clock
        self.marks: list[tuple[Stage, float]] = []
        self.line, self.note = report.line, report.note

    def stage(self, stage: Stage) -> None:
        """See Reporter.stage."""
        if not self.marks or ORDER.index(stage) > ORDER.index(self.marks[-1][0]):
            self.marks.append((stage, self._clock.now()))
        self._report.stage(stage)

    def expect(self, seconds: Mapping[Stage, float]) -> None:
        """See Reporter.expect."""
        self._report.expect(seconds)


@contextlib.contextmanager
def recorded(world: World, plan: Plan, verb: str, report: Reporter) -> Iterator[Reporter]:
    """A reporter for one launch, which is kept in the store however it ends.

    What earlier launches like it took is told first. A launch that nobody waited for is not kept.
    """
    like = likeness(plan, verb)
    report.expect(usual(one for one in world.store.launches() if one.likeness == like))
    recorder = Recorder(report, world.clock)
    failed = True
    try:
        yield recorder
        failed = False
    finally:
        ready = bool(recorder.marks) and recorder.marks[-1][0] is Stage.READY
        if recorder.marks and (ready or failed):
            world.store.record(
                Launch(
                    name=plan.name,
                    likeness=like,
                    begun=recorder.marks[0][1],
                    spans=spans_of(recorder.marks, world.clock.now()),
                    ready=ready,
                )
            )
