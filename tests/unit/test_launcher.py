"""What llm-atc does, in a world of fakes around the real store and vault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llm_atc import launcher
from llm_atc.access import KEY_PREFIX, Secret
from llm_atc.errors import (
    CloudError,
    Declined,
    DeploymentBusy,
    DeploymentError,
    DeploymentNotFound,
    EngineFailed,
    Interrupted,
    ModelNotFound,
    NotReady,
    OfferError,
    ProvisionFailed,
    SecretMissing,
    UsageError,
)
from llm_atc.launcher import Until
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.places import Place
from llm_atc.plan.request import Request
from llm_atc.ports import EngineState, MachineState, Observation, Sold
from llm_atc.states import State
from tests.fakes import ABSENT, NOON, STOPPED, Fakes, ended, running

L4 = Accelerator(name="L4")
A100 = Accelerator(name="A100")
CLOUD = Request(model="Qwen/Qwen3-0.6B", name="demo", place=Place(cloud="gcp"), accelerators=(L4,))
HERE = Request(model="Qwen/Qwen3-0.6B", name="demo", place=Place(cloud="local"))
NEEDS_TOKEN = replace(CLOUD, secrets=(("HF_TOKEN", Secret("hf_given")),))
STILL_RUNNING = (
    "The machine of demo is still running and costs $0.50 an hour. Remove it with: llm-atc down demo"
)


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    made = Fakes(folder=tmp_path)
    yield made
    made.store.close()


def yes(question: str) -> None:
    """Agree to everything."""


def no(question: str) -> None:
    raise Declined(question)


def serve(fakes: Fakes, request: Request = CLOUD, until: Until = Until.READY) -> launcher.Status:
    return launcher.serve(fakes.world, request, fakes.report, confirm=yes, order=yes, until=until, timeout=60)


def is_forgotten(fakes: Fakes) -> bool:
    return fakes.store.get("demo") is None and fakes.kept("demo") == {}


# Planning.


def test_a_plan_is_made_of_what_was_seen(fakes: Fakes) -> None:
    planned = launcher.plan(fakes.world, NEEDS_TOKEN)
    assert (planned.plan.name, planned.warnings) == ("demo", ())
    assert [(ref.location, token) for ref, token in fakes.models.looked] == [("Qwen/Qwen3-0.6B", "hf_given")]


def test_planning_starts_and_remembers_nothing(fakes: Fakes) -> None:
    launcher.plan(fakes.world, CLOUD)
    assert fakes.cloud.calls == []
    assert is_forgotten(fakes)


def test_flags_that_contradict_each_other_are_told_before_anybody_is_asked(fakes: Fakes) -> None:
    with pytest.raises(UsageError, match="--spot is for a cloud"):
        launcher.plan(fakes.world, replace(HERE, spot=True), strict=False)
    assert fakes.models.looked == []


def test_a_model_that_is_not_there_ends_a_strict_plan_and_warns_in_another(fakes: Fakes) -> None:
    fakes.models.raises = ModelNotFound("No model 'x'.")
    with pytest.raises(ModelNotFound):
        launcher.plan(fakes.world, CLOUD)
    planned = launcher.plan(fakes.world, CLOUD, strict=False)
    assert planned.warnings == ("No model 'x'.",)
    assert planned.plan.model.looked is False


@pytest.mark.parametrize("error", [OfferError("No such region."), CloudError("No catalogue can be read.")])
def test_a_catalogue_that_refuses_ends_a_strict_plan_and_warns_in_another(
    fakes: Fakes, error: OfferError | CloudError
) -> None:
    fakes.catalog.raises = error
    with pytest.raises(type(error)):
        launcher.plan(fakes.world, CLOUD)
    assert launcher.plan(fakes.world, CLOUD, strict=False).warnings == (error.message,)


def test_both_lookups_that_fail_are_both_warned_of(fakes: Fakes) -> None:
    fakes.models.raises = ModelNotFound("No model.")
    fakes.catalog.raises = CloudError("No catalogue.")
    assert launcher.plan(fakes.world, CLOUD, strict=False).warnings == ("No model.", "No catalogue.")


def test_what_is_not_sold_there_is_told_with_the_nearest_that_is(fakes: Fakes) -> None:
    fakes.catalog.sold[L4] = Sold(exact=False, nearest=("L4:2 on gcp/us-east1 ($1.41 an hour)",))
    with pytest.raises(OfferError) as caught:
        launcher.plan(fakes.world, CLOUD)
    assert caught.value.message == (
        "gcp does not sell L4:1. The nearest that is sold: L4:2 on gcp/us-east1 ($1.41 an hour)."
    )


def test_an_accelerator_that_nobody_sells_is_corrected(fakes: Fakes) -> None:
    wish = Accelerator(name="A1000", count=2)
    fakes.catalog.sold[wish] = Sold(exact=False, unknown=True, names=("A100", "L4"))
    with pytest.raises(OfferError, match=r"No accelerator is called 'A1000'\. Did you mean A100:2\?"):
        launcher.plan(fakes.world, replace(CLOUD, accelerators=(wish,)))


def test_one_wish_that_is_sold_is_enough_and_the_others_are_warned_of(fakes: Fakes) -> None:
    fakes.catalog.sold[A100] = Sold(exact=False)
    planned = launcher.plan(fakes.world, replace(CLOUD, accelerators=(A100, L4)))
    assert planned.warnings == ("gcp does not sell A100:1.",)


def test_of_several_wishes_that_nobody_sells_the_first_is_told(fakes: Fakes) -> None:
    fakes.catalog.sold = {A100: Sold(exact=False), L4: Sold(exact=False)}
    with pytest.raises(OfferError, match="does not sell A100:1"):
        launcher.plan(fakes.world, replace(CLOUD, accelerators=(A100, L4)))


# Serving.


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
    assert caught.value.details == ("Nothing is left running.",)
    assert is_forgotten(fakes)


def test_a_launch_that_left_a_machine_is_remembered_and_says_what_it_costs(fakes: Fakes) -> None:
    fakes.cloud.launch_raises = ProvisionFailed("The set-up failed.", details=("line",))
    fakes.cloud.leaves = ended()
    with pytest.raises(ProvisionFailed) as caught:
        serve(fakes)
    assert caught.value.details == ("line", STILL_RUNNING)
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
    assert caught.value.details == (truth,)


def test_a_failure_is_told_even_when_nobody_can_see_what_is_left(fakes: Fakes) -> None:
    def lose_sight() -> None:
        fakes.cloud.unseen = CloudError("SkyPilot's API server does not answer.")

    fakes.cloud.during_launch = lose_sight
    fakes.cloud.launch_raises = ProvisionFailed("No cloud gave the machine.")
    with pytest.raises(ProvisionFailed, match="No cloud gave the machine") as caught:
        serve(fakes)
    assert caught.value.details == (
        "Whether its machine is left cannot be seen now. Look with: llm-atc status demo",
    )
    assert fakes.store.get("demo") is not None
    assert "VLLM_API_KEY" in fakes.kept("demo")


def test_an_engine_that_ends_keeps_its_machine_remembered_and_says_what_it_costs(fakes: Fakes) -> None:
    fakes.cloud.becomes = ended()
    fakes.cloud.log = ("torch.OutOfMemoryError: CUDA out of memory.",)
    with pytest.raises(EngineFailed, match="do not fit into the memory") as caught:
        serve(fakes)
    assert caught.value.details == ("torch.OutOfMemoryError: CUDA out of memory.", STILL_RUNNING)
    assert fakes.store.get("demo") is not None


def test_an_endpoint_that_is_not_ready_in_time_stays_remembered(fakes: Fakes) -> None:
    fakes.probe.health = False
    with pytest.raises(NotReady) as caught:
        serve(fakes)
    assert caught.value.details[-1] == STILL_RUNNING
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
    assert (caught.value.exit_code, caught.value.details) == (130, (truth,))
    assert caught.value.hint == "llm-atc status demo"
    assert (fakes.store.get("demo") is not None) is remembered
    assert (fakes.kept("demo") != {}) is remembered


def test_ctrl_c_during_the_wait_tells_the_truth(fakes: Fakes) -> None:
    fakes.probe.interrupts = True
    with pytest.raises(Interrupted) as caught:
        serve(fakes)
    assert (caught.value.exit_code, caught.value.details) == (130, (STILL_RUNNING,))
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


# Status and endpoint.


def test_a_status_tells_what_was_spent(fakes: Fakes) -> None:
    serve(fakes)
    fakes.clock.time = NOON + 3 * 3600
    status = launcher.status_of(fakes.world, "demo")
    assert (status.hourly, status.spent, status.since) == (0.5, pytest.approx(1.5), NOON)


def test_a_stopped_machine_costs_nothing_and_answers_nowhere(fakes: Fakes) -> None:
    serve(fakes)
    status = launcher.stop(fakes.world, "demo", fakes.report)
    assert (status.state, status.hourly, status.spent, status.url) == (State.STOPPED, None, None, None)


def test_what_was_done_behind_our_back_is_noticed(fakes: Fakes) -> None:
    serve(fakes)
    del fakes.cloud.seen["demo"]
    assert launcher.status_of(fakes.world, "demo").state is State.GONE


def test_a_fresh_status_asks_the_cloud_itself(fakes: Fakes) -> None:
    serve(fakes)
    launcher.status_of(fakes.world, "demo", fresh=True)
    assert fakes.cloud.calls[-1] == "observe demo fresh"


def test_an_endpoint_is_an_address_and_a_key(fakes: Fakes) -> None:
    serve(fakes, replace(CLOUD, keys=(Secret("sk-first-key"), Secret("sk-second-key"))))
    found = launcher.endpoint(fakes.world, "demo")
    assert (found.url, found.model, found.key) == (
        "http://127.0.0.1:8000",
        "Qwen/Qwen3-0.6B",
        Secret("sk-first-key"),
    )


def test_a_machine_that_is_stopped_has_no_endpoint(fakes: Fakes) -> None:
    serve(fakes)
    launcher.stop(fakes.world, "demo", fakes.report)
    with pytest.raises(DeploymentError, match="demo has no endpoint now: it is stopped") as caught:
        launcher.endpoint(fakes.world, "demo")
    assert caught.value.hint == "llm-atc start demo"


def test_a_name_that_nobody_launched_is_not_found(fakes: Fakes) -> None:
    with pytest.raises(DeploymentNotFound, match=r"No deployment is called 'other'\. There is none\."):
        launcher.status_of(fakes.world, "other")
    serve(fakes)
    with pytest.raises(DeploymentNotFound, match=r"No deployment is called 'other'\. There are: demo\."):
        launcher.status_of(fakes.world, "other")


def test_the_log_is_the_targets(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.log = ("one", "two", "three")
    assert list(launcher.logs(fakes.world, "demo", follow=False, lines=2)) == ["two", "three"]


# Stop, start, down.


def test_starting_again_keeps_the_key_and_the_plan(fakes: Fakes) -> None:
    serve(fakes, replace(NEEDS_TOKEN, setup=False))
    before = fakes.kept("demo")
    launcher.stop(fakes.world, "demo", fakes.report)
    assert fakes.kept("demo") == before
    status = launcher.start(fakes.world, "demo", fakes.report)
    (first, _), (second, secrets) = fakes.cloud.launched
    assert status.state is State.READY
    assert secrets == before == fakes.kept("demo")
    assert second == replace(first, setup=True)


def test_nothing_is_done_to_a_deployment_that_answers(fakes: Fakes) -> None:
    serve(fakes)
    assert launcher.start(fakes.world, "demo", fakes.report).state is State.READY
    assert fakes.cloud.did() == ["launch demo"]


def test_an_engine_that_has_ended_is_started_on_its_machine(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = ended()
    assert launcher.start(fakes.world, "demo", fakes.report).state is State.READY
    assert fakes.cloud.did() == ["launch demo", "launch demo"]


def test_a_start_that_fails_forgets_nothing(fakes: Fakes) -> None:
    serve(fakes)
    kept = fakes.kept("demo")
    fakes.cloud.seen["demo"] = STOPPED
    fakes.cloud.launch_raises = ProvisionFailed("No cloud gave the machine.")
    with pytest.raises(ProvisionFailed):
        launcher.start(fakes.world, "demo", fakes.report)
    assert fakes.store.get("demo") is not None
    assert fakes.kept("demo") == kept


def test_down_leaves_nothing_behind_and_says_what_it_cost(fakes: Fakes) -> None:
    serve(fakes)
    fakes.clock.time = NOON + 2 * 3600
    status = launcher.down(fakes.world, "demo", fakes.report)
    assert (status.state, status.url, status.spent) == (State.GONE, None, pytest.approx(1.0))
    assert fakes.cloud.did() == ["launch demo", "down demo"]
    assert is_forgotten(fakes)
    assert list((fakes.folder / "secrets").iterdir()) == []


def test_down_of_what_is_gone_already_only_forgets_it(fakes: Fakes) -> None:
    serve(fakes)
    del fakes.cloud.seen["demo"]
    assert launcher.down(fakes.world, "demo", fakes.report).state is State.GONE
    assert is_forgotten(fakes)


def test_down_that_leaves_a_machine_is_an_error_and_forgets_nothing(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.down_leaves = running()
    with pytest.raises(DeploymentError, match="demo is not gone: its machine is up") as caught:
        launcher.down(fakes.world, "demo", fakes.report)
    assert caught.value.hint == "llm-atc down demo"
    assert fakes.store.get("demo") is not None
    assert "VLLM_API_KEY" in fakes.kept("demo")


@pytest.mark.parametrize("verb", [launcher.stop, launcher.start, launcher.restart, launcher.down])
def test_nothing_is_done_while_another_command_is_at_work(fakes: Fakes, verb: object) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = ended()
    with fakes.store.working("demo", "serve"), pytest.raises(DeploymentBusy):
        verb(fakes.world, "demo", fakes.report)  # type: ignore[operator]
    assert fakes.cloud.did() == ["launch demo"]


@pytest.mark.parametrize("verb", [launcher.stop, launcher.start, launcher.restart, launcher.down])
def test_nothing_is_done_to_a_name_that_is_not_ours(fakes: Fakes, verb: object) -> None:
    fakes.cloud.seen["demo"] = running()
    with pytest.raises(DeploymentNotFound):
        verb(fakes.world, "demo", fakes.report)  # type: ignore[operator]
    assert fakes.cloud.did() == []


# In the terminal.


def test_in_the_foreground_nothing_is_remembered_and_the_made_key_is_shown(fakes: Fakes) -> None:
    launcher.serve_in_foreground(fakes.world, HERE, fakes.report)
    ((plan, secrets),) = fakes.here.launched
    assert fakes.here.did() == ["foreground demo"]
    assert fakes.report.notes[-1] == f"Its key: {secrets[plan.key_variable]}"
    assert is_forgotten(fakes)


def test_in_the_foreground_a_users_own_key_is_not_shown(fakes: Fakes) -> None:
    launcher.serve_in_foreground(fakes.world, replace(HERE, keys=(Secret("sk-my-own-key"),)), fakes.report)
    assert "sk-my-own-key" not in " ".join(fakes.report.notes)


def test_in_the_foreground_nothing_is_started_beside_what_runs(fakes: Fakes) -> None:
    serve(fakes, HERE)
    with pytest.raises(DeploymentError, match="demo runs here already") as caught:
        launcher.serve_in_foreground(fakes.world, HERE, fakes.report)
    assert caught.value.hint == "llm-atc stop demo"
    assert fakes.here.did() == ["launch demo"]


def test_nothing_is_launched_for_money_that_was_not_ordered(fakes: Fakes) -> None:
    asked: list[str] = []

    def refuse(question: str) -> None:
        asked.append(question)
        raise Declined("Nothing was done.")

    with pytest.raises(Declined):
        launcher.serve(fakes.world, CLOUD, fakes.report, confirm=yes, order=refuse)
    assert "for $1.50 an hour?" in asked[0]
    assert fakes.cloud.launched == []
    assert fakes.world.store.all() == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-modle-len", "4096"), "--max-model-len"),
        (("--max-model-len", "many"), "--max-model-len"),
        (("--dtype", "float8"), "--dtype"),
    ],
)
def test_an_engine_option_that_the_pinned_engine_refuses_is_refused_before_anything_starts(
    fakes: Fakes, words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        launcher.serve(fakes.world, replace(CLOUD, engine_args=words), fakes.report, confirm=yes, order=yes)
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert fakes.cloud.calls == []


def test_an_option_that_another_one_needs_is_added_and_told(fakes: Fakes) -> None:
    planned = launcher.plan(fakes.world, replace(CLOUD, engine_args=("--enable-log-outputs",)))
    assert planned.plan.arguments[-2:] == ("--enable-log-outputs", "--enable-log-requests")
    assert "--enable-log-requests is added" in " ".join(planned.plan.notes)
