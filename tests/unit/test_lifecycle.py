"""What becomes of a deployment, in a world of fakes around the real store and vault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_atc import launcher
from llm_atc.access import Secret
from llm_atc.cli import output
from llm_atc.errors import (
    CloudError,
    DeploymentBusy,
    DeploymentError,
    DeploymentNotFound,
    OfferError,
    ProvisionFailed,
)
from llm_atc.ports import EngineState, MachineState, Observation, Reporter, Usage
from llm_atc.states import State
from tests.fakes import NOON, STOPPED, Fakes, ended, running
from tests.unit.serving import CLOUD, HERE, NEEDS_TOKEN, is_forgotten, serve


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


def test_what_has_no_machine_cannot_be_stopped(fakes: Fakes) -> None:
    serve(fakes)
    del fakes.cloud.seen["demo"]
    with pytest.raises(
        DeploymentError, match="demo has no machine that could be stopped: it is gone"
    ) as caught:
        launcher.stop(fakes.world, "demo", fakes.report)
    assert caught.value.hint == "llm-atc start demo   (or: llm-atc down demo)"


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


def test_down_removes_what_nobody_can_look_at_and_says_what_is_not_known(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(fakes)
    fakes.cloud.unseen = CloudError("The cloud does not tell.")
    remove = fakes.cloud.down

    def down(name: str, report: Reporter) -> None:
        fakes.cloud.unseen = None
        remove(name, report)

    monkeypatch.setattr(fakes.cloud, "down", down)
    status = launcher.down(fakes.world, "demo", fakes.report)
    assert (status.state, status.url, status.spent) == (State.GONE, None, None)
    assert output.receipt(status) == " What it cost is not known: The cloud does not tell."
    assert fakes.cloud.did() == ["launch demo", "down demo"]
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


# Money and time.


def test_a_status_tells_how_it_is_used_and_when_it_ends(fakes: Fakes) -> None:
    serve(fakes)
    fakes.probe.use = Usage(idle=120, left=1680, dollars=3.25, warning="ends in 28 minutes: nobody has asked")
    fakes.clock.time = NOON + 7200
    status = launcher.status_of(fakes.world, "demo")
    assert (status.idle, status.left, status.spent, status.hours) == (120, 1680, 3.25, 2)
    assert (status.hourly, status.daily) == (0.5, 12)
    assert status.detail == "ends in 28 minutes: nobody has asked"
    assert status.ends == "It stops by itself after 30 minutes without a request."


def test_a_machine_of_ours_has_no_such_end(fakes: Fakes) -> None:
    serve(fakes, HERE)
    fakes.probe.use = Usage(idle=120)
    status = launcher.status_of(fakes.world, "demo")
    assert (status.idle, status.ends) == (None, None)


def test_an_engine_that_ended_as_it_should_is_stopping(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = Observation(machine=MachineState.UP, engine=EngineState.FINISHED)
    assert launcher.status_of(fakes.world, "demo").state is State.STOPPING


def test_an_address_that_no_longer_answers_is_looked_at_again(fakes: Fakes) -> None:
    serve(fakes)
    fakes.probe.health = False
    fakes.cloud.script = [running(), STOPPED]
    with pytest.raises(DeploymentError, match="demo has no endpoint now: it is stopped"):
        launcher.endpoint(fakes.world, "demo")
    assert fakes.cloud.calls[-2:] == ["observe demo", "observe demo fresh"]


def test_more_time_and_money_is_told_to_what_runs_and_kept_for_later(fakes: Fakes) -> None:
    serve(fakes, replace(CLOUD, ttl=3600, budget=5.0))
    status = launcher.extend(fakes.world, "demo", ttl=7200, budget=10)
    assert "extend demo 10800 15.0" in fakes.cloud.calls
    assert status.ends == (
        "It stops by itself after 30 minutes without a request, or after 3h, or when $15.00 are spent."
    )
    launcher.restart(fakes.world, "demo", fakes.report)
    assert fakes.cloud.launched[-1][0].ending.ttl == 10800


def test_a_limit_that_was_none_counts_from_now(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = running(launched=NOON + 36000)  # launched anew on a machine that was up
    fakes.clock.time = NOON + 36060
    status = launcher.extend(fakes.world, "demo", ttl=7200, budget=10)
    (told,) = fakes.cloud.told
    assert (told.ttl, told.ttl_since, told.budget, told.budget_since) == (
        7200,
        NOON + 36060,
        10,
        NOON + 36060,
    )
    assert status.ends == str(told)


@pytest.mark.parametrize("seen", [STOPPED, ended()])
def test_a_first_limit_of_what_does_not_run_counts_from_now_at_a_later_start(
    fakes: Fakes, seen: Observation
) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = seen
    fakes.clock.time = NOON + 60
    launcher.extend(fakes.world, "demo", budget=10)
    fakes.clock.time = NOON + 120
    launcher.extend(fakes.world, "demo", budget=5, ttl=3600)
    launcher.start(fakes.world, "demo", fakes.report)
    ending = fakes.cloud.launched[-1][0].ending
    assert (ending.budget, ending.budget_since) == (15, NOON + 60)
    assert (ending.ttl, ending.ttl_since) == (3600, NOON + 120)


def test_what_does_not_run_is_only_remembered(fakes: Fakes) -> None:
    serve(fakes, replace(CLOUD, ttl=3600))
    fakes.cloud.seen["demo"] = STOPPED
    launcher.extend(fakes.world, "demo", ttl=3600)
    assert fakes.cloud.did() == ["launch demo"]
    found = fakes.store.get("demo")
    assert found is not None
    assert found.plan.ending.ttl == 7200


def test_a_budget_needs_a_price(fakes: Fakes) -> None:
    fakes.cloud.hourly = None
    with pytest.raises(OfferError, match="so a budget cannot be kept"):
        serve(fakes, replace(CLOUD, budget=5.0))
    assert fakes.cloud.did() == []


def test_this_machine_has_nothing_to_extend(fakes: Fakes) -> None:
    serve(fakes, HERE)
    with pytest.raises(DeploymentError, match="without limits"):
        launcher.extend(fakes.world, "demo", ttl=60)
