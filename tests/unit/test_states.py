"""What a deployment's state is called."""

from __future__ import annotations

import itertools

import pytest

from llm_atc.ports import EngineState, MachineState, Observation
from llm_atc.states import State, state_of


def seen(machine: MachineState, engine: EngineState = EngineState.NONE) -> Observation:
    return Observation(machine=machine, engine=engine)


@pytest.mark.parametrize(
    ("machine", "busy", "state"),
    [
        (MachineState.ABSENT, True, State.LAUNCHING),
        (MachineState.ABSENT, False, State.GONE),
        (MachineState.STARTING, True, State.LAUNCHING),
        (MachineState.STARTING, False, State.LAUNCHING),
        (MachineState.STOPPED, True, State.STOPPED),
        (MachineState.STOPPED, False, State.STOPPED),
        (MachineState.UNKNOWN, True, State.LAUNCHING),
        (MachineState.UNKNOWN, False, State.BROKEN),
    ],
)
def test_a_machine_that_is_not_up_decides_alone(machine: MachineState, busy: bool, state: State) -> None:
    told = {
        state_of(seen(machine, engine), healthy=healthy, busy=busy)
        for engine, healthy in itertools.product(EngineState, (True, False))
    }
    assert told == {state}


@pytest.mark.parametrize(
    ("engine", "healthy", "busy", "state"),
    [
        (EngineState.RUNNING, True, False, State.READY),
        (EngineState.RUNNING, True, True, State.READY),
        (EngineState.RUNNING, False, False, State.STARTING),
        (EngineState.STARTING, False, False, State.STARTING),
        (EngineState.NONE, False, True, State.STARTING),
        (EngineState.NONE, False, False, State.FAILED),
        (EngineState.ENDED, False, False, State.FAILED),
        (EngineState.ENDED, False, True, State.FAILED),
    ],
)
def test_on_a_machine_that_is_up_the_engine_decides(
    engine: EngineState, healthy: bool, busy: bool, state: State
) -> None:
    assert state_of(seen(MachineState.UP, engine), healthy=healthy, busy=busy) == state


def test_something_else_that_answers_on_the_port_does_not_make_a_dead_engine_ready() -> None:
    assert state_of(seen(MachineState.UP, EngineState.ENDED), healthy=True, busy=False) is State.FAILED


def test_every_state_can_be_reached_and_is_explained() -> None:
    reached = {
        state_of(seen(machine, engine), healthy=healthy, busy=busy)
        for machine, engine, healthy, busy in itertools.product(
            MachineState, EngineState, (True, False), (True, False)
        )
    }
    assert reached == set(State)
    assert State.__doc__ is not None
    assert all(f"    {state}" in State.__doc__ for state in State)
