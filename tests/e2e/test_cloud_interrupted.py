"""Interrupted at any moment: the next command finds the truth, and `down` leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cloud.client import SimulatedRegion
from tests.e2e.conftest import OPEN
from tests.hub import Hub

pytestmark = [pytest.mark.timeout(600)]

NAME = "brief"
SERVE = ("llm-atc", "serve", "--name", OPEN, "--accelerator", "L4:1", "-c", NAME, "--cloud", "aws")


class Serving:
    """A `serve` under way, whose talk is read while it runs."""

    def __init__(self, region: SimulatedRegion, hub: Hub) -> None:
        self._region = region
        self._env = {**region.env, "HF_ENDPOINT": hub.url}
        self._talk = (region.home / "talk.txt").open("w+")
        self.process = subprocess.Popen(
            [*SERVE, "--region", "us-east-1", "-e", f"HF_ENDPOINT={hub.url}", "--verbose"],
            env=self._env,
            cwd=region.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._talk,
        )

    def said(self) -> str:
        return (self._region.home / "talk.txt").read_text()

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until this holds; an error when `serve` ends before."""
        deadline = time.monotonic() + 240
        while not reached():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._talk.close()


@pytest.fixture
def serving(region: SimulatedRegion, hub: Hub) -> Iterator[Serving]:
    running = Serving(region, hub)
    yield running
    running.close()
    region.run("llm-atc", "down", "--all", "--yes", check=False)


def states(region: SimulatedRegion) -> list[str]:
    return [found["state"] for found in json.loads(region.run("llm-atc", "status", "--json").stdout)]


def assert_down_leaves_nothing(region: SimulatedRegion) -> None:
    region.run("llm-atc", "down", NAME, "--yes")
    assert region.instances() == ()
    assert states(region) == []
    assert list((region.home / ".llm-atc" / "secrets").iterdir()) == []
    assert NAME not in region.run("sky", "status").stdout


def test_ctrl_c_while_a_machine_is_being_had(region: SimulatedRegion, serving: Serving) -> None:
    serving.until(lambda: bool(region.instances()))
    assert serving.end(signal.SIGINT) == 130
    assert "Interrupted." in serving.said()
    if states(region):  # else nothing was left, and nothing is remembered
        assert_down_leaves_nothing(region)
    assert region.instances() == ()


def test_killed_before_there_is_a_machine_while_another_wants_the_name(
    region: SimulatedRegion, hub: Hub, serving: Serving
) -> None:
    serving.until(lambda: "provision" in serving.said())
    second = region.run(*SERVE, env={"HF_ENDPOINT": hub.url}, check=False)
    assert second.returncode == 1
    assert f"`llm-atc serve {NAME}` is at work on it" in second.stderr
    serving.end(signal.SIGKILL)
    assert states(region)[0] in ("launching", "starting", "gone", "broken")
    assert_down_leaves_nothing(region)


def test_killed_when_there_is_a_machine(region: SimulatedRegion, serving: Serving) -> None:
    serving.until(lambda: bool(region.instances("running")))
    serving.end(signal.SIGKILL)
    assert states(region)[0] in ("launching", "broken")
    assert_down_leaves_nothing(region)


def test_killed_while_the_engine_starts(region: SimulatedRegion, serving: Serving) -> None:
    serving.until(lambda: "weights" in serving.said())
    serving.end(signal.SIGKILL)
    assert states(region)[0] in ("starting", "ready")
    assert_down_leaves_nothing(region)
