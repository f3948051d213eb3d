"""When a machine ends by itself: read, decided, and said."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.access import Secret
from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.ending import (
    Action,
    Ending,
    duration,
    read_action,
    read_budget,
    read_duration,
    read_minutes,
)
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.places import CLOUDS, NEVER_END, NEVER_STOP, SPOT_NEVER_STOP, Place
from llm_atc.plan.plan import Plan, make_plan
from llm_atc.plan.request import Request
from llm_atc.render.task import task
from llm_atc.store.task_templates import load_template
from llm_atc.targets import sky_vm
from llm_atc.targets.sky_launch import Launch
from llm_atc.targets.sky_vm import SkyVm
from tests.fakes import FakeReporter
from tests.sky_here import sky

HUB = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
REQUEST = Request(model="Qwen/Qwen3-0.6B", place=Place(cloud="gcp"), accelerators=(Accelerator(name="L4"),))


def plan_of(**changes: object) -> Plan:
    return make_plan(replace(REQUEST, **changes), HUB)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("90m", 5400), ("1d12h", 129600), ("1h30m", 5400), ("45s", 45), (" 2h ", 7200)],
)
def test_a_length_of_time_is_read(text: str, seconds: int) -> None:
    assert read_duration(text, flag="--ttl") == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "0h", "-1h", "8 hours", "30m8h", "1.5h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        read_duration(text, flag="--ttl")


@given(st.integers(1, 10_000))
def test_a_duration_that_is_said_is_read_again(minutes: int) -> None:
    assert read_duration(duration(minutes * 60), flag="--ttl") == minutes * 60


@pytest.mark.parametrize(("text", "dollars"), [("20", 20.0), ("$19.50", 19.5), (20, 20.0)])
def test_a_budget_is_read(text: str, dollars: float) -> None:
    assert read_budget(text, flag="--budget") == dollars


@pytest.mark.parametrize("text", ["", "free", "0", "-3", "nan", "inf"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no sum of US dollars"):
        read_budget(text, flag="--budget")


def test_an_action_is_stop_or_down() -> None:
    assert [read_action(text) for text in (None, "stop", "down")] == [None, Action.STOP, Action.DOWN]
    with pytest.raises(UsageError, match="neither stop nor down"):
        read_action("sleep")


def test_minutes_are_a_number_of_them() -> None:
    assert [read_minutes(n, least=0, flag="--idle-minutes") for n in (None, 0, 30)] == [None, 0, 30]
    with pytest.raises(UsageError, match="--idle-minutes -1"):
        read_minutes(-1, least=0, flag="--idle-minutes")


def test_half_an_hour_without_a_request_is_what_nobody_needs_to_ask_for() -> None:
    assert plan_of().ending == Ending(idle_minutes=30, action=Action.STOP)
    assert str(plan_of().ending) == "It stops by itself after 30 minutes without a request."


def test_everything_that_was_asked_for_is_said() -> None:
    ending = plan_of(idle_minutes=5, ttl=28800, budget=20.0, idle_action=Action.DOWN).ending
    assert str(ending) == (
        "It is removed by itself after 5 minutes without a request, or after 8h, or when $20.00 are spent."
    )


def test_a_limit_that_was_set_later_counts_from_then_and_says_so() -> None:
    ending = plan_of().ending.extended(ttl=7200, budget=10, now=1_800_000_000)
    assert str(ending) == (
        "It stops by itself after 30 minutes without a request, "
        "or after 2h from 2027-01-15 08:00 UTC or a later start, "
        "or when $10.00 are spent from 2027-01-15 08:00 UTC on."
    )
    variables = task(replace(plan_of(), ending=ending), load_template("vllm.yaml"), "/package")["envs"]
    assert (variables["TTL_SECONDS"], variables["BUDGET_DOLLARS"]) == ("7200", "10")
    assert {float(variables[name]) for name in ("TTL_SINCE", "BUDGET_SINCE")} == {1_800_000_000}


def test_a_limit_that_was_there_goes_on_counting_from_where_it_did() -> None:
    ending = plan_of(ttl=3600, budget=5.0).ending.extended(ttl=7200, budget=10, now=1_800_000_000)
    assert ending == plan_of(ttl=10800, budget=15.0).ending


def test_a_machine_can_tell_whether_its_launch_or_more_time_was_asked_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skypilot, plan = MagicMock(), plan_of(place=Place(cloud="verda"))
    secrets = dict.fromkeys(plan.secret_names, Secret("sk-atc"))
    Launch(skypilot, plan, {"envs": {}}, FakeReporter(), 60).run(secrets)
    (launched,) = skypilot.Task.from_yaml_config.return_value.update_envs.call_args.args
    monkeypatch.setattr(sky_vm, "sky_quiet", lambda: nullcontext(skypilot))
    skypilot.get.side_effect = [(1, None), {1: skypilot.JobStatus.SUCCEEDED}]
    ending = plan.ending.extended(ttl=7200, budget=None, now=1_800_000_000)
    SkyVm(lambda plan: "").extend(replace(plan, ending=ending))
    told = skypilot.Task.call_args.kwargs["envs"]
    assert float(launched["ASKED_AT"]) < float(told.pop("ASKED_AT"))
    assert told == {
        "TTL_SECONDS": "7200",
        "TTL_SINCE": "1800000000",
        "BUDGET_DOLLARS": "",
        "BUDGET_SINCE": "",
    }


def test_never_is_said_too() -> None:
    assert str(plan_of(idle_minutes=0).ending) == ("It stops by itself only when its engine cannot start.")


@pytest.mark.parametrize(
    ("place", "spot", "action", "why"),
    [
        ("aws", False, Action.STOP, ()),
        ("aws", True, Action.DOWN, ("A spot machine of aws cannot be stopped",)),
        ("gcp", True, Action.STOP, ()),
        ("lambda", False, Action.DOWN, ("A machine of lambda cannot be stopped",)),
        (None, True, Action.DOWN, ("A spot machine of most clouds cannot be stopped",)),
        (None, False, Action.STOP, ()),
        ("verda", False, None, ("SkyPilot can end no machine of verda by itself",)),
    ],
)
def test_what_cannot_stop_is_removed_and_the_plan_says_so(
    place: str | None, spot: bool, action: Action | None, why: tuple[str, ...]
) -> None:
    plan = plan_of(place=Place(cloud=place), spot=spot)
    assert plan.ending.action is action
    told = [note for note in plan.notes if not note.startswith("A spot machine is tried first")]
    assert [note.startswith(start) for note, start in zip(told, why, strict=True)] == [True] * len(why)


def test_what_cannot_end_by_itself_goes_on_costing_money_and_that_is_said() -> None:
    plan = plan_of(place=Place(cloud="verda"))
    assert "Its machine goes on costing money until you remove it." in str(plan.ending)
    assert "autostop" not in task(plan, load_template("vllm.yaml"), "/package")["resources"]


def test_several_machines_end_by_themselves_as_one_does() -> None:
    assert plan_of(num_nodes=2).ending == plan_of().ending
    assert plan_of(num_nodes=2, ttl=3600).ending.ttl == 3600


@pytest.mark.parametrize(
    ("source", "size", "minutes"),
    [(None, 10**12, 15), ("s3://b/m", None, 15), ("s3://b/m", 12 * 10**10, 110), ("/m", 12 * 10**9, 205)],
)
def test_copying_may_take_as_long_as_a_slow_copy_takes(
    source: str | None, size: int | None, minutes: int
) -> None:
    ref = ModelRef.parse("llm-atc/m", source) if source else HUB.ref
    assert make_plan(REQUEST, replace(HUB, ref=ref, bytes=size)).ending.copy_minutes == minutes


@pytest.mark.parametrize("flag", [{"idle_minutes": 5}, {"ttl": 60}, {"budget": 1.0}, {"copy_minutes": 9}])
def test_this_machine_has_no_such_limits(flag: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="is for a cloud"):
        plan_of(place=Place(cloud="local"), accelerators=(), **flag)


def unsupported(cloud: str, *, spot: bool) -> set[str]:
    """What SkyPilot says that this cloud cannot do."""
    features = sky.clouds.CloudImplementationFeatures
    known = sky.CLOUD_REGISTRY.from_str(cloud)
    found = known._unsupported_features_for_resources(sky.Resources(use_spot=spot))
    return {one.name for one in (features.STOP, features.AUTOSTOP, features.AUTODOWN) if one in found}


# Their client libraries are not installed here; SkyPilot's documentation says the same of both.
NOT_HERE = {"kubernetes", "ssh"}


@pytest.mark.parametrize("cloud", sorted(set(CLOUDS) - NOT_HERE))
def test_which_clouds_cannot_stop_is_what_skypilot_says(cloud: str) -> None:
    on_demand, spot = unsupported(cloud, spot=False), unsupported(cloud, spot=True)
    assert ("AUTODOWN" in on_demand) is (cloud in NEVER_END)
    if cloud not in NEVER_END:
        assert (bool(on_demand)) is (cloud in NEVER_STOP)
        spot_alone = "STOP" in spot and not on_demand and "SPOT_INSTANCE" not in spot
        assert cloud == "scp" or spot_alone is (cloud in SPOT_NEVER_STOP)
