"""What is put down of a launch: the plan with its secrets, and how long each stage took."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import ORDER, Stage
from llm_atc.plan.timeline import Launch, likeness, spans_of, usual
from llm_atc.ports import Clock, MachineState, Observation, Reporter, Secrets, World


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


def remember(world: World, plan: Plan, secrets: Secrets) -> Callable[[Observation], None]:
    """Remember what is to be launched; what is returned undoes that, where the launch failed.

    Then what was there before is remembered, so that `start` brings that back with its keys; of a new name it
    is nothing, unless a machine is left.
    """
    name = plan.name
    known, kept = world.store.get(name), world.vault.get(name)
    world.store.save(plan, world.clock.now())
    world.vault.put(name, secrets)

    def put_back(left: Observation) -> None:
        if known is not None:
            world.store.save(known.plan, known.started)
            world.vault.put(name, kept)
        elif left.machine is MachineState.ABSENT:
            world.vault.erase(name)
            world.store.forget(name)

    return put_back
