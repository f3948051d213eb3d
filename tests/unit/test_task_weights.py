"""How the task's scripts see to weights: what they install, what they tell the engine, and the cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llm_atc.store.task_templates import load_template
from tests.unit.task_machine import INSTALLS, ONE_MACHINE, Machine, serve

GIVES_REGION = """#!{python}
import sys
assert "head_bucket" in sys.argv[2] and sys.argv[3:] == ["s3://mine/tiny"]
print("eu-north-1")
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_goes_beside_the_engine_is_installed_also_where_the_engine_is_there(machine: Machine) -> None:
    machine.stand_in(machine.programs / "uv", INSTALLS)
    loaded = load_template(ONE_MACHINE)
    beside = ["boto3==1.44.5", "a b; python_version > '3'", "$(touch owned)"]
    envs = loaded["envs"] | {"BESIDE_REQUIREMENTS": json.dumps(beside)}
    for _ in range(2):
        ran = machine.run(loaded["setup"], envs)
        assert ran.returncode == 0, ran.stderr
    *_, first, second = machine.calls("uv")
    words = ["pip", "install", "--quiet", "--python", f"{machine.engine}/bin/python", *beside]
    assert (first.arguments, second.arguments) == (words, words)
    assert len(machine.calls("uv")) == 4, "the engine itself was installed once"
    assert not (machine.home / "owned").exists()


def test_streamed_weights_are_asked_for_in_the_buckets_own_region(machine: Machine) -> None:
    machine.put(machine.engine / "bin" / "python3", GIVES_REGION.format(python=sys.executable))
    call = serve(machine, MODEL="s3://mine/tiny")
    assert call.arguments[:2] == ["serve", "s3://mine/tiny"]
    assert call.environment["AWS_DEFAULT_REGION"] == "eu-north-1"


def test_a_region_of_the_users_own_stays(machine: Machine) -> None:
    call = serve(machine, MODEL="s3://mine/tiny", AWS_DEFAULT_REGION="us-west-2")
    assert call.environment["AWS_DEFAULT_REGION"] == "us-west-2"


def test_the_hubs_downloads_take_much_memory_only_where_there_is_much(machine: Machine) -> None:
    machine.put(machine.programs / "awk", "#!/bin/sh\necho 16000000\n")
    assert "HF_XET_HIGH_PERFORMANCE" not in serve(machine).environment


def test_the_hubs_downloads_are_at_full_speed_on_a_large_machine(machine: Machine) -> None:
    machine.put(machine.programs / "awk", "#!/bin/sh\necho 64000000\n")
    assert serve(machine).environment["HF_XET_HIGH_PERFORMANCE"] == "1"


def test_the_users_own_word_on_the_hubs_downloads_stays(machine: Machine) -> None:
    machine.put(machine.programs / "awk", "#!/bin/sh\necho 64000000\n")
    assert serve(machine, HF_XET_HIGH_PERFORMANCE="0").environment["HF_XET_HIGH_PERFORMANCE"] == "0"
