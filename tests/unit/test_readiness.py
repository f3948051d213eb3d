"""Waiting for an endpoint, with scripted observations and a clock that costs nothing."""

from __future__ import annotations

import threading

import pytest

from llm_atc.access import Secret
from llm_atc.doors import Door
from llm_atc.errors import CloudError, EngineFailed, NotReady
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.model import ModelRef, ModelSpec, Runner
from llm_atc.plan.plan import Plan, make_plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.request import Request
from llm_atc.ports import EngineState, MachineState, Observation
from llm_atc.readiness import LOG_LINES, Looks, wait_until_ready
from tests.fakes import NOON, STOPPED, FakeClock, FakeProbe, FakeReporter, FakeTarget, ended, running

SPEC = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
REQUEST = Request(model="Qwen/Qwen3-0.6B", name="demo", accelerators=(Accelerator(name="L4"),))
KEY = Secret("sk-12345678")
STARTING = Observation(machine=MachineState.STARTING)
NO_ADDRESS = Observation(machine=MachineState.UP, engine=EngineState.STARTING)
SET_UP = Observation(machine=MachineState.UP, engine=EngineState.STARTING, address="127.0.0.1:8000")


class Wait:
    """Everything that a wait needs; `until_ready` waits."""

    def __init__(self) -> None:
        self.target = FakeTarget()
        self.target.seen["demo"] = running()
        self.probe = FakeProbe()
        self.clock = FakeClock()
        self.report = FakeReporter()
        self.plan: Plan = make_plan(REQUEST, SPEC)

    def until_ready(self, timeout: float = 600, *, running_is_enough: bool = False) -> None:
        wait_until_ready(
            self.target,
            self.probe,
            self.clock,
            self.plan,
            Door(key=KEY),
            self.report,
            timeout=timeout,
            running_is_enough=running_is_enough,
        )

    @property
    def waited(self) -> float:
        """Seconds that passed on the clock."""
        return self.clock.now() - NOON


@pytest.fixture
def wait() -> Wait:
    return Wait()


def test_an_endpoint_that_answers_is_ready_at_once(wait: Wait) -> None:
    wait.until_ready()
    assert wait.waited == 0
    assert wait.probe.asked == [("127.0.0.1:8000", "Qwen/Qwen3-0.6B", Runner.GENERATE, "sk-12345678")]
    assert wait.report.stages == [Stage.READY]


def test_the_wait_goes_on_while_the_machine_and_the_engine_come_up(wait: Wait) -> None:
    wait.target.script = [STARTING, NO_ADDRESS, SET_UP]
    wait.until_ready()
    assert wait.target.script == []
    assert Stage.READY in wait.report.stages


def test_an_endpoint_that_refuses_twice_and_then_answers_is_ready(wait: Wait) -> None:
    wait.probe.replies = ["/v1/completions answered 503: loading", "/v1/completions answered 503: loading"]
    wait.until_ready()
    assert len(wait.probe.asked) == 3


def test_an_endpoint_that_is_healthy_and_refuses_three_times_is_not_ready(wait: Wait) -> None:
    wait.probe.replies = ["/v1/completions answered 500: head size 16"] * 3
    with pytest.raises(
        NotReady, match=r"says it is healthy, and answers no request: .* head size 16"
    ) as caught:
        wait.until_ready()
    assert caught.value.hint == "llm-atc logs demo"
    assert len(wait.probe.asked) == 3
    assert Stage.READY not in wait.report.stages


def test_after_a_refusal_the_engine_is_looked_at_again_at_once(wait: Wait) -> None:
    wait.probe.replies = ["the connection broke (RemoteDisconnected)"]
    wait.target.script = [running(), ended()]
    wait.target.log = ("AssertionError: head size 16 is not supported", "INFO: Finished server process")
    with pytest.raises(EngineFailed, match="The engine ended before it answered"):
        wait.until_ready()
    assert len(wait.probe.asked) == 1


def test_an_engine_that_ended_is_explained_by_its_log(wait: Wait) -> None:
    wait.target.seen["demo"] = ended()
    wait.target.log = (
        "(EngineCore pid=7) ValueError: No available memory for the cache blocks. Try increasing it.",
        "(APIServer pid=4) RuntimeError: Engine core initialization failed. See root cause above.",
    )
    with pytest.raises(EngineFailed) as caught:
        wait.until_ready()
    assert caught.value.message == (
        "vllm could not start. The model and its KV cache do not fit into the memory."
    )
    assert caught.value.details == (
        "ValueError: No available memory for the cache blocks. Try increasing it.",
    )
    assert caught.value.hint is not None
    assert "--max-model-len" in caught.value.hint


def test_the_cause_is_sought_in_the_last_lines_of_a_long_log(wait: Wait) -> None:
    wait.target.seen["demo"] = ended()
    wait.target.log = ("torch.OutOfMemoryError: CUDA out of memory.", *["INFO busy"] * LOG_LINES)
    with pytest.raises(EngineFailed, match="The engine ended before it answered"):
        wait.until_ready()


def test_where_the_log_cannot_be_fetched_what_was_followed_explains(wait: Wait) -> None:
    wait.target.seen["demo"] = ended()
    wait.target.log = ("torch.OutOfMemoryError: CUDA out of memory.",)
    wait.target.logs_raise = CloudError("SSH is gone.")
    wait.target.log_first = True
    with pytest.raises(EngineFailed, match="do not fit into the memory"):
        wait.until_ready()


def test_an_engine_whose_machine_stopped_by_itself_after_its_end_is_explained_too(wait: Wait) -> None:
    wait.target.seen["demo"] = Observation(machine=MachineState.STOPPED, engine=EngineState.ENDED)
    wait.target.log = ("torch.OutOfMemoryError: CUDA out of memory.",)
    with pytest.raises(EngineFailed, match="do not fit into the memory"):
        wait.until_ready()


@pytest.mark.parametrize("gone", [STOPPED, Observation(machine=MachineState.ABSENT)])
def test_a_machine_that_is_taken_away_ends_the_wait(wait: Wait, gone: Observation) -> None:
    wait.target.script = [NO_ADDRESS, gone]
    with pytest.raises(
        EngineFailed, match=f"The machine of demo is {gone.machine}: it was taken away"
    ) as caught:
        wait.until_ready()
    assert caught.value.hint == "llm-atc start demo"


def test_an_endpoint_that_stays_silent_is_not_ready_when_the_time_is_over(wait: Wait) -> None:
    wait.probe.health = False
    wait.target.log = tuple(f"line {number}" for number in range(9))
    wait.target.log_first = True
    with pytest.raises(
        NotReady, match=r"demo did not answer within 60 seconds\. It goes on starting\."
    ) as caught:
        wait.until_ready(timeout=60)
    assert wait.waited == pytest.approx(60, abs=1)
    assert caught.value.hint == "llm-atc logs demo -f"
    assert caught.value.details == ("line 4", "line 5", "line 6", "line 7", "line 8")


def test_a_machine_that_cannot_be_seen_is_waited_for_until_the_time_is_over(wait: Wait) -> None:
    wait.target.seen["demo"] = Observation(machine=MachineState.UNKNOWN)
    with pytest.raises(NotReady):
        wait.until_ready(timeout=30)
    assert wait.probe.asked == []


def test_a_known_address_is_asked_often_and_the_cloud_seldom_while_the_log_is_followed(wait: Wait) -> None:
    wait.probe.health = False
    wait.target.log_lasts = threading.Event()
    with pytest.raises(NotReady):
        wait.until_ready(timeout=60)
    wait.target.log_lasts.set()
    slept = wait.clock.slept
    assert all(pause <= max(0.03, sum(slept[:number]) / 100) + 1e-6 for number, pause in enumerate(slept))
    assert slept[0] == 0.03
    assert slept[-1] == 0.5
    assert wait.target.calls.count("observe demo") == 2


def test_a_log_that_is_over_makes_the_cloud_be_asked_at_once_and_often_then() -> None:
    over = threading.Event()
    looks = Looks(over, 30)
    assert looks.due(0)
    looks.looked(0, running())
    assert [looks.due(now) for now in (29, 30)] == [False, True]
    looks.looked(30, running())
    over.set()
    assert looks.due(31)
    looks.looked(31, running())
    assert [looks.due(now) for now in (35, 36)] == [False, True]


def test_running_is_enough_where_only_the_set_up_was_asked_for(wait: Wait) -> None:
    wait.probe.health = False
    wait.target.script = [NO_ADDRESS, SET_UP]
    wait.until_ready(running_is_enough=True)
    assert wait.probe.asked == []
    assert Stage.READY not in wait.report.stages


def test_an_engine_that_ended_is_told_even_where_running_was_enough(wait: Wait) -> None:
    wait.target.seen["demo"] = ended()
    with pytest.raises(EngineFailed):
        wait.until_ready(running_is_enough=True)


def test_lines_and_stages_of_the_log_are_told(wait: Wait) -> None:
    wait.target.log = (
        "[llm-atc] stage: set up",
        "Starting to load model m",
        "Loading weights took 1.2 seconds",
    )
    wait.target.log_first = True
    wait.until_ready()
    assert wait.report.lines == list(wait.target.log)
    assert wait.report.stages == [Stage.SET_UP, Stage.WEIGHTS, Stage.ENGINE, Stage.READY]


def test_a_model_that_pools_is_asked_for_an_embedding(wait: Wait) -> None:
    spec = ModelSpec(ref=SPEC.ref, looked=True, runner=Runner.POOLING)
    wait.plan = make_plan(REQUEST, spec)
    wait.until_ready()
    assert wait.probe.asked[0][2] is Runner.POOLING
