"""When a machine without SkyPilot's agent is ended, and what carries the guard to it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm_atc.keeper import guard
from llm_atc.keeper.guard import NEVER_ARMED, Seen, Stamp, after_look, after_wake
from llm_atc.targets.sky_guard import first_command

NOTHING, AGENT, KEEPER = Seen(), Seen(agent=True), Seen(keeper=True)


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        # The first look of a boot counts from then, whatever runs.
        (None, NOTHING, Stamp(since=100)),
        (None, AGENT, Stamp(since=100)),
        # An agent must be looked at once in each boot: what was armed holds for the boot before.
        (Stamp(since=40), AGENT, Stamp(since=40)),
        (Stamp(since=40, looked=True), AGENT, Stamp(since=100, looked=True)),
        (Stamp(since=40, looked=True, woken=True), AGENT, Stamp(since=100, looked=True)),
        (Stamp(since=40, looked=True, woken=True), NOTHING, Stamp(since=40, looked=True, woken=True)),
        (Stamp(since=40), Seen(agent=True, contained=True), Stamp(since=100, looked=True)),
        # A stamp of a longer boot says nothing.
        (Stamp(since=5000, looked=True), AGENT, Stamp(since=100)),
    ],
)
def test_what_a_look_leaves_behind(before: Stamp | None, seen: Seen, after: Stamp) -> None:
    assert after_look(before, 100, seen) == after


@pytest.mark.parametrize(
    ("stamp", "seen", "code", "after"),
    [
        (Stamp(since=1), NOTHING, 0, Stamp(since=100, looked=True, woken=True)),
        (Stamp(since=1), AGENT, 0, Stamp(since=100, looked=True)),
        # It could not be started, or was and is gone again: the machine is shut down.
        (Stamp(since=1), NOTHING, 1, None),
        (Stamp(since=1), NOTHING, NEVER_ARMED, None),
        (Stamp(since=1, looked=True, woken=True), NOTHING, 0, None),
        # It runs, and was never told when to end.
        (Stamp(since=1), AGENT, NEVER_ARMED, None),
        # It runs and could not be looked at: a full disk is no reason to end it.
        (Stamp(since=1), AGENT, 1, Stamp(since=100, looked=True)),
        # Whoever is served goes on to be served.
        (Stamp(since=1), KEEPER, 1, Stamp(since=100)),
        (Stamp(since=1), Seen(agent=True, keeper=True), NEVER_ARMED, Stamp(since=100)),
    ],
)
def test_what_follows_when_the_agent_was_asked(
    stamp: Stamp, seen: Seen, code: int, after: Stamp | None
) -> None:
    assert after_wake(stamp, 100, seen, code) == after


@pytest.mark.parametrize(
    ("commands", "seen"),
    [
        ({}, NOTHING),
        ({"7": "python3\0/usr/local/lib/llm-atc/guard.py\0--minutes\0"}, NOTHING),
        ({"8": "python\0-m\0sky.skylet.skylet\0--port=46590\0"}, AGENT),
        ({"9": "python3\0-m\0llm_atc.keeper\0--engine-port\0", "10": ""}, KEEPER),
    ],
)
def test_what_runs_is_told_by_command_lines(tmp_path: Path, commands: dict[str, str], seen: Seen) -> None:
    for number, command in commands.items():
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text(command)
        (tmp_path / number / "root").symlink_to("/")
    assert guard.see(tmp_path) == seen


def test_an_agent_in_a_container_is_told_from_this_machines(tmp_path: Path) -> None:
    (tmp_path / "7" / "root").mkdir(parents=True)
    (tmp_path / "7" / "cmdline").write_text("python\0-m\0sky.skylet.skylet\0")
    assert guard.see(tmp_path) == Seen(agent=True, contained=True)


def test_a_container_has_no_cron_and_gets_no_guard(tmp_path: Path) -> None:
    place = tmp_path / "guard.py"
    assert guard.put(15, place, tmp_path / "cron.d" / "guard") == "no cron"
    assert not place.exists()


def test_the_first_command_of_a_machine_carries_the_very_file_through_yaml() -> None:
    command = first_command(15)
    (read,) = yaml.safe_load(f"runcmd:\n  - {command}\n")["runcmd"]  # as SkyPilot's template puts it
    assert read == command
    packed = re.search(r"echo (\S+) \|", command)
    assert packed is not None
    assert gzip.decompress(base64.b64decode(packed[1])) == Path(guard.__file__).read_bytes()
    assert command.endswith("guard.py --install --minutes 15")
    assert len(command) < 8000  # EC2 takes 16 KB, and SkyPilot and the user have theirs in it


ASKED = """
import json, sys
from dataclasses import replace
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.plan import make_plan
from llm_atc.plan.request import Request
from llm_atc.targets.sky_guard import guarded
from sky.utils import annotations
annotations.is_on_api_server = False  # as in each call of SkyPilot's client
from sky.server.requests.payloads import get_override_skypilot_config_from_client as sent

spec = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
l4 = (Accelerator(name="L4"),)
plan = make_plan(Request(model="Qwen/Qwen3-0.6B", name="demo", accelerators=l4), spec)
never = replace(plan, ending=replace(plan.ending, action=None))
before, found = dict(sent()), []
for each in (plan, never, replace(plan, num_nodes=2)):
    with guarded(each):
        found.append(sent())
json.dump([before, *found, sent()], sys.stdout)
"""


def test_a_launch_adds_the_guard_to_the_users_own_configuration_and_changes_nothing_else(
    tmp_path: Path,
) -> None:
    theirs = {"aws": {"post_provision_runcmd": ["echo theirs"], "use_internal_ips": False}}
    (tmp_path / ".sky").mkdir()
    (tmp_path / ".sky" / "config.yaml").write_text(yaml.safe_dump(theirs))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    asked = subprocess.run([sys.executable, "-c", ASKED], env=env, capture_output=True, text=True, check=True)
    before, launched, without_end, several, after = json.loads(asked.stdout)
    assert before == without_end == several == after == theirs
    assert launched == {"aws": {**theirs["aws"], "post_provision_runcmd": ["echo theirs", first_command(15)]}}


ARMING = """
import inspect, json, sys
from sky.skylet import autostop_lib, constants, job_lib
json.dump({
    "set": list(inspect.signature(autostop_lib.set_autostop).parameters)[:4],
    "config": sorted(vars(autostop_lib.AutostopConfig(1, 2.0, "b", autostop_lib.AutostopWaitFor.JOBS))),
    "never": autostop_lib.AutostopConfig(-1, -1, None, autostop_lib.AutostopWaitFor.JOBS).boot_time,
    "update": list(inspect.signature(job_lib.update_status).parameters),
    "python": constants.SKY_PYTHON_PATH_FILE,
    "runtime": constants.SKY_REMOTE_PYTHON_ENV,
}, sys.stdout)
"""


def test_skypilots_agent_is_still_armed_as_the_guard_arms_it(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", ARMING], env=env, capture_output=True, text=True, check=True
    )
    told = json.loads(asked.stdout)
    assert told["set"] == ["idle_minutes", "backend", "wait_for", "down"]
    assert {"autostop_idle_minutes", "backend", "boot_time", "down", "wait_for"} <= set(told["config"])
    assert told["never"] < 0
    assert told["update"] == []
    assert told["python"].endswith("/.sky/python_path")
    assert told["runtime"].endswith("/skypilot-runtime")
