"""A launch that is killed once there is a machine, and SkyPilot's API server with it: it ends in stopped."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cloud.client import SimulatedRegion
from tests.e2e.left_alone import leave, stopped, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "left-alone"
SERVE = (
    *("llm-atc", "serve", "--name", "llm-atc/left", "--source", "s3://left/tiny", "--accelerator", "L4:1"),
    *("-c", NAME, "--cloud", "aws", "--region", "us-east-1", "--copy-minutes", "1", "--verbose"),
)


def test_all_killed_while_files_are_copied_to_a_new_machine_ends_in_stopped(
    region: SimulatedRegion, tiny_model: Path
) -> None:
    region.s3().create_bucket(Bucket="left")
    for file in tiny_model.iterdir():
        region.s3().upload_file(str(file), "left", f"tiny/{file.name}")
    talk = region.home / "talk.txt"
    with talk.open("w") as told:
        serving = subprocess.Popen(
            SERVE,
            env=region.env,
            cwd=region.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        try:
            # The empty task has nothing to run, and says so; after it the task itself begins.
            wait_until(lambda: "Run commands not specified or empty" in talk.read_text(), 300)
        finally:
            leave(region)
            serving.wait()
    assert [machine.state for machine in region.instances()] == ["running"]
    wait_until(lambda: stopped(region), 240)
    (status,) = json.loads(region.run("llm-atc", "status", NAME, "--json").stdout)
    assert status["state"] == "stopped"
    region.run("llm-atc", "down", NAME, "--yes")
    assert region.instances() == ()
