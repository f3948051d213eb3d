"""Waiting for an endpoint: health and one generated token, or the engine's end and its cause.

Health alone proves nothing: an engine can say healthy and die at its first request.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from llm_atc.doors import Door
from llm_atc.errors import AtcError, EngineFailed, NotReady
from llm_atc.plan.diagnosis import diagnose
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage, stage_of
from llm_atc.ports import Clock, EngineState, MachineState, Observation, Probe, Reporter, Target

# A look at a cloud's machine costs seconds of processor time, there and here. While the engine's log can be
# followed it tells by its own end that the engine has ended, and looks may be rare.
OBSERVE_EVERY, OBSERVE_BESIDE_LOG = 5.0, 30.0
# The wait between two questions grows with the wait so far: readiness is told a hundredth too late at most,
# and an engine that starts on few cores has them for itself.
ASK_MOST, ASK_LEAST, ASK_SHARE = 0.5, 0.03, 0.01
REFUSALS = 3
# Each of eight processes may print a traceback of fifty lines after the line that decides.
LOG_LINES = 2000


def wait_until_ready(
    target: Target,
    probe: Probe,
    clock: Clock,
    plan: Plan,
    door: Door,
    report: Reporter,
    *,
    timeout: float,
    running_is_enough: bool = False,
) -> None:
    """Return when the endpoint has answered once; `timeout` is seconds.

    With `running_is_enough`, return when the engine's process runs. Raises EngineFailed with the cause when
    the engine ends, NotReady when the time is over or the endpoint is healthy and answers nothing.
    """
    begun = clock.now()
    deadline = begun + timeout
    seen = Observation(machine=MachineState.STARTING)
    refusals = 0
    with _following(target, plan.name, report) as (tail, over):
        looks = Looks(over, OBSERVE_EVERY if running_is_enough else OBSERVE_BESIDE_LOG)
        while True:
            if looks.due(clock.now()):
                seen = target.observe(plan.name)
                _check_alive(target, plan, seen, tail)
                looks.looked(clock.now(), seen)
            if running_is_enough and seen.engine is EngineState.RUNNING:
                return
            if seen.address is not None and probe.healthy(seen.address, door.certificate):
                problem = _problem(probe, seen.address, plan, door)
                if problem is None:
                    report.stage(Stage.READY)
                    return
                refusals += 1
                looks.at_once()
                if refusals >= REFUSALS:
                    raise NotReady(
                        f"{plan.name} says it is healthy, and answers no request: {problem}",
                        hint=f"llm-atc logs {plan.name}",
                    )
            if clock.now() >= deadline:
                raise NotReady(
                    f"{plan.name} did not answer within {timeout:.0f} seconds. It goes on starting.",
                    hint=f"llm-atc logs {plan.name} -f",
                    details=tuple(tail)[-5:],
                )
            clock.sleep(ASK_MOST if refusals else _pause(clock.now() - begun))


class Looks:
    """When to look at the machine: `rarely` while the log is followed, at once and then often when that is
    over, and again and again while there is no address."""

    def __init__(self, over: threading.Event, rarely: float) -> None:
        self._over, self._every, self._next = over, rarely, 0.0
        self._followed = True

    def due(self, now: float) -> bool:
        if self._followed and self._over.is_set():
            self._followed, self._every = False, OBSERVE_EVERY
            return True
        return now >= self._next

    def looked(self, now: float, seen: Observation) -> None:
        self._next = now + (0.0 if seen.address is None else self._every)

    def at_once(self) -> None:
        self._next = 0.0


def _pause(waited: float) -> float:
    return min(ASK_MOST, max(ASK_LEAST, ASK_SHARE * waited))


def _problem(probe: Probe, address: str, plan: Plan, door: Door) -> str | None:
    return probe.answers(address, plan.model.ref.name, plan.model.runner, door.key, door.certificate)


def _check_alive(target: Target, plan: Plan, seen: Observation, tail: deque[str]) -> None:
    if seen.machine in (MachineState.ABSENT, MachineState.STOPPED) and seen.engine is not EngineState.ENDED:
        raise EngineFailed(
            f"The machine of {plan.name} is {seen.machine}: it was taken away while the engine started.",
            hint=f"llm-atc start {plan.name}",
        )
    if seen.engine is EngineState.FINISHED:
        raise EngineFailed(
            f"{plan.name} ended by itself before it was ready: its time or its budget is over.",
            hint=f"llm-atc extend {plan.name} --ttl 2h   (or --budget 10), then: llm-atc start {plan.name}",
        )
    if seen.engine is not EngineState.ENDED:
        return
    log = list(tail)
    with contextlib.suppress(AtcError):
        log = list(target.logs(plan.name, follow=False, lines=LOG_LINES)) or log
    found = diagnose("\n".join(log))
    raise EngineFailed(
        f"{plan.engine} could not start. {found.cause}", hint=found.advice, details=found.lines
    )


@contextlib.contextmanager
def _following(target: Target, name: str, report: Reporter) -> Iterator[tuple[deque[str], threading.Event]]:
    """Read the engine's log beside the waiting, tell its lines and stages, and keep the last of them.

    The event is set once the log is over, or can no longer be followed.
    """
    tail: deque[str] = deque(maxlen=LOG_LINES)
    done, over = threading.Event(), threading.Event()

    def read() -> None:
        # The log is told for company: whatever goes wrong with it is no reason to stop waiting.
        with contextlib.suppress(Exception):
            for line in target.logs(name, follow=True):
                if done.is_set():
                    return
                tail.append(line)
                if stage := stage_of(line):
                    report.stage(stage)
                report.line(line)
        over.set()

    threading.Thread(target=read, daemon=True, name=f"log of {name}").start()
    try:
        yield tail, over
    finally:
        done.set()
