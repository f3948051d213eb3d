"""What a deployment's state is called, from what was seen of its machine, its engine and its port."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from llm_atc.ports import EngineState, MachineState, Observation


class State(StrEnum):
    """The states that `llm-atc status` shows.

    launching  a machine is being had for it
    starting   the machine is up and the engine does not answer yet
    ready      the engine answers
    stopping   the engine ended because nobody used it, or its time or budget was over; its machine follows
    failed     the machine is up and the engine has ended
    broken     a machine is there that was never brought up completely; it may cost money
    stopped    the machine is stopped, its disk is kept
    gone       nothing is there any more, though llm-atc did not remove it
    """

    LAUNCHING = "launching"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"
    BROKEN = "broken"
    STOPPED = "stopped"
    GONE = "gone"


def state_of(seen: Observation, *, healthy: bool, busy: bool) -> State:
    """The one word for what was seen. `busy` says that a command is working on the deployment now."""
    match seen.machine:
        case MachineState.ABSENT:
            return State.LAUNCHING if busy else State.GONE
        case MachineState.STARTING:
            return State.LAUNCHING
        case MachineState.STOPPED:
            return State.STOPPED
        case MachineState.UNKNOWN:
            return State.LAUNCHING if busy else State.BROKEN
        case MachineState.UP:
            return _engine_state(seen.engine, healthy=healthy, busy=busy)
        case _:
            assert_never(seen.machine)


def _engine_state(engine: EngineState, *, healthy: bool, busy: bool) -> State:
    match engine:
        case EngineState.RUNNING:
            return State.READY if healthy else State.STARTING
        case EngineState.STARTING:
            return State.STARTING
        case EngineState.NONE:
            return State.STARTING if busy else State.FAILED
        case EngineState.ENDED:
            return State.FAILED
        case EngineState.FINISHED:
            return State.STOPPING
        case _:
            assert_never(engine)
