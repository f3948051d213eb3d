"""Serving, in a world of fakes around the real store and vault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_atc import launcher
from llm_atc.access import KEY_PREFIX, Secret
from llm_atc.errors import (
    CloudError,
    Declined,
    DeploymentBusy,
    DeploymentError,
    EngineFailed,
    Interrupted,
    NotReady,
    ProvisionFailed,
    SecretMissing,
)
from llm_atc.launcher import Until
from llm_atc.plan.request import Request
from llm_atc.ports import EngineState, MachineState, Observation, Sold
from llm_atc.states import State
from tests.fakes import ABSENT, STOPPED, Fakes, ended, running
from tests.unit.serving import (
    A100,
    CLOUD,
    ENDS_ITSELF,
    HERE,
    L4,
    NEEDS_TOKEN,
    STILL_RUNNING,
    is_forgotten,
    no,
    serve,
    yes,
)


def test_serving_ends_with_an_endpoint_that_answers(fakes: Fakes) -> None:
    status = serve(fakes)
    assert (status.state, status.url) == (State.READY, "http://127.0.0.1:8000")
    assert (status.model, status.engine, status.where) == ("Qwen/Qwen3-0.6B", "vllm 0.32.0", "gcp")
    assert fakes.cloud.did() == ["launch demo"]
    assert fakes.here.calls == []


def test_local_runs_on_this_machine(fakes: Fakes) -> None:
    assert serve(fakes, HERE).where == "this machine"
    assert fakes.here.did() == ["launch demo"]
    assert fakes.cloud.calls == []


def test_a_key_is_made_and_kept_and_asked_with(fakes: Fakes) -> None:
    serve(fakes)
    ((_, secrets),) = fakes.cloud.launched
    assert secrets["VLLM_API_KEY"].startswith(KEY_PREFIX)
    assert fakes.kept("demo") == secrets
    assert fakes.probe.asked[0][3] == secrets["VLLM_API_KEY"]


def test_keys_of_the_users_are_taken_together_and_the_first_is_asked_with(fakes: Fakes) -> None:
    serve(fakes, replace(CLOUD, keys=(Secret("sk-first-key"), Secret("sk-second-key"))))
    assert fakes.kept("demo") == {"VLLM_API_KEY": "sk-first-key,sk-second-key"}
    assert fakes.probe.asked[0][3] == "sk-first-key"


def test_an_open_endpoint_has_no_key(fakes: Fakes) -> None:
    serve(fakes, replace(CLOUD, auth=False))
    assert fakes.kept("demo") == {}
    assert fakes.probe.asked[0][3] is None
    assert launcher.endpoint(fakes.world, "demo").key is None


def test_a_deployment_is_remembered_with_its_secrets_before_its_machine_is_launched(fakes: Fakes) -> None:
    seen: list[tuple[bool, list[str], str | None]] = []

    def look() -> None:
        found = fakes.store.get("demo")
        seen.append((found is not None, sorted(fakes.kept("demo")), found.busy if found else None))

    fakes.cloud.during_launch = look
    serve(fakes, NEEDS_TOKEN)
    ((remembered, kept, busy),) = seen
    assert (remembered, kept) == (True, ["HF_TOKEN", "VLLM_API_KEY"])
    assert busy is not None
    assert busy.startswith("`llm-atc serve` is at work")


def test_what_cannot_be_made_sure_of_is_said_before_the_launch(fakes: Fakes) -> None:
    fakes.catalog.sold[A100] = Sold(exact=False)
    told: list[list[str]] = []
    fakes.cloud.during_launch = lambda: told.append(list(fakes.report.notes))
    serve(fakes, replace(CLOUD, accelerators=(A100, L4), image="docker:x"))
    assert told == [
        [
            "gcp does not sell A100:1.",
            "A container image is used as it is: this has not been tried on real machines.",
        ]
    ]


def test_submitting_waits_for_nothing(fakes: Fakes) -> None:
    fakes.cloud.becomes = Observation(machine=MachineState.UP, engine=EngineState.STARTING)
    assert serve(fakes, until=Until.SUBMITTED).state is State.STARTING
    assert fakes.probe.asked == []
    assert fakes.clock.slept == []


def test_setting_up_waits_for_the_engines_process_alone(fakes: Fakes) -> None:
    fakes.probe.health = False
    assert serve(fakes, until=Until.SET_UP).state is State.STARTING
    assert fakes.probe.asked == []


@pytest.mark.parametrize("left", [ABSENT, STOPPED])
@pytest.mark.parametrize("error", [ProvisionFailed("No cloud gave the machine."), KeyboardInterrupt()])
def test_a_launch_that_fails_leaves_what_was_there_before_to_be_started(
    fakes: Fakes, left: Observation, error: BaseException
) -> None:
    serve(fakes, NEEDS_TOKEN)
    before, kept = fakes.store.get("demo"), fakes.kept("demo")
    fakes.cloud.seen["demo"], fakes.cloud.leaves, fakes.cloud.launch_raises = STOPPED, left, error
    with pytest.raises((ProvisionFailed, Interrupted)):
        serve(fakes, replace(CLOUD, accelerators=(A100,), keys=(Secret("sk-another-key"),)))
    assert fakes.store.get("demo") == before
    assert fakes.kept("demo") == kept


def test_a_name_that_is_not_ours_is_refused(fakes: Fakes) -> None:
    fakes.cloud.seen["demo"] = running()
    with pytest.raises(DeploymentError, match="A cluster called demo is there already") as caught:
        serve(fakes)
    assert caught.value.hint is not None
    assert "sky down demo" in caught.value.hint
    assert fakes.cloud.did() == []
    assert is_forgotten(fakes)


@pytest.mark.parametrize("machine", [MachineState.UP, MachineState.STARTING])
def test_replacing_what_runs_asks_first(fakes: Fakes, machine: MachineState) -> None:
    serve(fakes)
    kept = fakes.kept("demo")
    fakes.cloud.seen["demo"] = Observation(machine=machine)
    with pytest.raises(Declined, match=r"demo is serving Qwen/Qwen3-0\.6B on gcp\. Replace it\?"):
        launcher.serve(fakes.world, replace(CLOUD, port=9000), fakes.report, confirm=no, order=yes)
    assert fakes.cloud.did() == ["launch demo"]
    found = fakes.store.get("demo")
    assert found is not None
    assert (found.plan.port, fakes.kept("demo")) == (8000, kept)


def test_a_machine_that_is_stopped_is_used_again_without_a_question(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = STOPPED
    launcher.serve(fakes.world, CLOUD, fakes.report, confirm=no, order=yes)
    assert fakes.cloud.did() == ["launch demo", "launch demo"]


def test_serving_again_keeps_the_key(fakes: Fakes) -> None:
    serve(fakes)
    key = fakes.kept("demo")["VLLM_API_KEY"]
    serve(fakes, replace(CLOUD, port=9000))
    assert fakes.kept("demo")["VLLM_API_KEY"] == key


def test_serving_again_with_another_key_changes_it(fakes: Fakes) -> None:
    serve(fakes)
    serve(fakes, replace(CLOUD, keys=(Secret("sk-another-key"),)))
    assert fakes.kept("demo") == {"VLLM_API_KEY": "sk-another-key"}


def test_a_deployment_does_not_move_between_this_machine_and_a_cloud(fakes: Fakes) -> None:
    serve(fakes)
    with pytest.raises(DeploymentError, match="demo is a deployment on gcp already") as caught:
        serve(fakes, HERE)
    assert caught.value.hint == "llm-atc down demo"
    assert fakes.here.did() == []


# Serving that fails.


def test_a_launch_that_left_nothing_is_forgotten_with_its_secrets(fakes: Fakes) -> None:
    fakes.cloud.launch_raises = ProvisionFailed("No cloud gave the machine.")
    with pytest.raises(ProvisionFailed) as caught:
        serve(fakes)
    assert caught.value.left == "Nothing is left running."
    assert is_forgotten(fakes)


def test_a_launch_that_left_a_machine_is_remembered_and_says_what_it_costs(fakes: Fakes) -> None:
    fakes.cloud.launch_raises = ProvisionFailed("The set-up failed.", details=("line",))
    fakes.cloud.leaves = ended()
    with pytest.raises(ProvisionFailed) as caught:
        serve(fakes)
    assert (caught.value.details, caught.value.left) == (("line",), ENDS_ITSELF)
    assert fakes.store.get("demo") is not None
    assert "VLLM_API_KEY" in fakes.kept("demo")


@pytest.mark.parametrize(
    ("request_", "left", "truth"),
    [
        (
            CLOUD,
            running(hourly=None),
            "The machine of demo is still running. Remove it with: llm-atc down demo",
        ),
        (CLOUD, STOPPED, "The machine of demo is stopped: only its disk is paid for."),
        (HERE, running(), "demo still runs here. End it with: llm-atc down demo"),
        (HERE, STOPPED, "Nothing is left running."),
    ],
)
def test_a_failure_says_what_is_left(fakes: Fakes, request_: Request, left: Observation, truth: str) -> None:
    for target in (fakes.cloud, fakes.here):
        target.launch_raises = CloudError("It broke.")
        target.leaves = left
    with pytest.raises(CloudError) as caught:
        serve(fakes, request_)
    assert caught.value.left == truth


def test_a_failure_is_told_even_when_nobody_can_see_what_is_left(fakes: Fakes) -> None:
    def lose_sight() -> None:
        fakes.cloud.unseen = CloudError("SkyPilot's API server does not answer.")

    fakes.cloud.during_launch = lose_sight
    fakes.cloud.launch_raises = ProvisionFailed("No cloud gave the machine.")
    with pytest.raises(ProvisionFailed, match="No cloud gave the machine") as caught:
        serve(fakes)
    assert (
        caught.value.left == "Whether its machine is left cannot be seen now. Look with: llm-atc status demo"
    )
    assert fakes.store.get("demo") is not None
    assert "VLLM_API_KEY" in fakes.kept("demo")


def test_an_engine_that_ends_keeps_its_machine_remembered_and_says_what_it_costs(fakes: Fakes) -> None:
    fakes.cloud.becomes = ended()
    fakes.cloud.log = ("torch.OutOfMemoryError: CUDA out of memory.",)
    with pytest.raises(EngineFailed, match="do not fit into the memory") as caught:
        serve(fakes)
    assert caught.value.details == ("torch.OutOfMemoryError: CUDA out of memory.",)
    assert caught.value.left == ENDS_ITSELF
    assert fakes.store.get("demo") is not None


def test_an_endpoint_that_is_not_ready_in_time_stays_remembered(fakes: Fakes) -> None:
    fakes.probe.health = False
    with pytest.raises(NotReady) as caught:
        serve(fakes)
    assert caught.value.left == STILL_RUNNING
    assert fakes.store.get("demo") is not None


@pytest.mark.parametrize(
    ("left", "truth", "remembered"),
    [(ABSENT, "Nothing is left running.", False), (running(), STILL_RUNNING, True)],
)
def test_ctrl_c_during_the_launch_tells_the_truth(
    fakes: Fakes, left: Observation, truth: str, remembered: bool
) -> None:
    fakes.cloud.launch_raises = KeyboardInterrupt()
    fakes.cloud.leaves = left
    with pytest.raises(Interrupted) as caught:
        serve(fakes)
    assert (caught.value.exit_code, caught.value.left) == (130, truth)
    assert caught.value.hint == "llm-atc status demo"
    assert (fakes.store.get("demo") is not None) is remembered
    assert (fakes.kept("demo") != {}) is remembered


def test_ctrl_c_during_the_wait_tells_the_truth(fakes: Fakes) -> None:
    fakes.probe.interrupts = True
    with pytest.raises(Interrupted) as caught:
        serve(fakes)
    assert (caught.value.exit_code, caught.value.left) == (130, STILL_RUNNING)
    assert fakes.store.get("demo") is not None


def test_after_a_failure_the_name_is_free_for_the_next_command(fakes: Fakes) -> None:
    fakes.cloud.launch_raises = KeyboardInterrupt()
    with pytest.raises(Interrupted):
        serve(fakes)
    fakes.cloud.launch_raises = None
    assert serve(fakes).state is State.READY


def test_two_commands_on_one_name_are_one_too_many(fakes: Fakes) -> None:
    refused: list[str] = []

    def serve_again() -> None:
        with pytest.raises(DeploymentBusy) as caught:
            serve(fakes)
        refused.append(caught.value.message)

    fakes.cloud.during_launch = serve_again
    serve(fakes)
    assert len(refused) == 1
    assert fakes.cloud.did() == ["launch demo"]


# Secrets.


def test_a_secret_without_a_value_is_missed_before_anything_is_started(fakes: Fakes) -> None:
    serve(fakes, NEEDS_TOKEN)
    launcher.stop(fakes.world, "demo", fakes.report)
    fakes.vault.erase("demo")
    with pytest.raises(SecretMissing, match="demo needs the secret HF_TOKEN") as caught:
        launcher.start(fakes.world, "demo", fakes.report)
    assert caught.value.hint == "export HF_TOKEN=…"
    assert fakes.cloud.did() == ["launch demo", "stop demo"]
    assert fakes.kept("demo") == {}


def test_a_secret_that_is_kept_goes_before_the_environments(fakes: Fakes) -> None:
    serve(fakes, NEEDS_TOKEN)
    fakes.environ["HF_TOKEN"] = "hf_from_environment"
    launcher.restart(fakes.world, "demo", fakes.report)
    assert fakes.cloud.launched[-1][1]["HF_TOKEN"] == "hf_given"


def test_a_secret_that_is_not_kept_any_more_comes_from_the_environment(fakes: Fakes) -> None:
    serve(fakes, NEEDS_TOKEN)
    fakes.vault.erase("demo")
    fakes.environ["HF_TOKEN"] = "hf_from_environment"
    launcher.restart(fakes.world, "demo", fakes.report)
    assert fakes.cloud.launched[-1][1]["HF_TOKEN"] == "hf_from_environment"


def test_a_new_value_goes_before_the_one_that_is_kept(fakes: Fakes) -> None:
    serve(fakes, NEEDS_TOKEN)
    serve(fakes, replace(CLOUD, secrets=(("HF_TOKEN", Secret("hf_new")),)))
    assert fakes.kept("demo")["HF_TOKEN"] == "hf_new"


def test_no_secret_is_in_what_is_remembered_or_told(fakes: Fakes) -> None:
    serve(fakes, replace(NEEDS_TOKEN, keys=(Secret("sk-my-own-key"),)))
    told = repr((fakes.store.all(), fakes.report.notes, fakes.report.lines, fakes.cloud.calls))
    database = b"".join(path.read_bytes() for path in fakes.folder.glob("state.db*"))
    for secret in ("hf_given", "sk-my-own-key"):
        assert secret not in told
        assert secret.encode() not in database


def test_nothing_is_launched_for_money_that_was_not_ordered(fakes: Fakes) -> None:
    asked: list[str] = []

    def refuse(question: str) -> None:
        asked.append(question)
        raise Declined("Nothing was done.")

    with pytest.raises(Declined):
        launcher.serve(fakes.world, CLOUD, fakes.report, confirm=yes, order=refuse)
    assert "for $1.50 an hour ($36.00 a day)?" in asked[0]
    assert fakes.cloud.launched == []
    assert fakes.world.store.all() == ()
