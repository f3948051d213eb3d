"""Commands on this machine that are interrupted: killed at any moment, or ended by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llm_atc.errors import EngineFailed
from llm_atc.ports import MachineState
from llm_atc.targets.local import LocalTarget
from tests.local_fixtures import Told, eventually, plan_here, up

COMMAND = """
import sys
from pathlib import Path
from llm_atc.targets.local import LocalTarget
from tests.local_fixtures import ModelsOnDisk, StandInEngines, Told, plan_here
home, executable, verb, behave = sys.argv[1:]
class Loud(Told):
    def line(self, text): print(text, flush=True)
target = LocalTarget(Path(home), StandInEngines(executable), ModelsOnDisk(), grace=1.0)
print("begins", flush=True)
getattr(target, verb)(plan_here("one", BEHAVE=behave), {}, Loud())
print("returned", flush=True)
"""
Start = Callable[..., subprocess.Popen[str]]


def processes_of(home: Path) -> list[int]:
    """Every process that a command for this home started, and that still runs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if f"TEST_HOME={home}".encode() in entry.joinpath("environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


@pytest.fixture
def command(local_home: Path, stand_in: str) -> Iterator[Start]:
    """Start a command in a process and a session of its own, as in a terminal."""
    started: list[subprocess.Popen[str]] = []

    def start(verb: str, behave: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(local_home), stand_in, verb, behave],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"TEST_HOME": str(local_home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("milliseconds", [0, 1, 3, 10, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300])
def test_a_launch_that_is_killed_at_any_moment_leaves_only_what_down_takes_down(
    here: LocalTarget, local_home: Path, command: Start, told: Told, milliseconds: int
) -> None:
    launching = command("launch")
    threading.Event().wait(milliseconds / 1000)  # the moment is what is tested
    os.killpg(launching.pid, signal.SIGKILL)
    launching.wait()
    seen = here.observe("one").machine
    assert seen in (MachineState.ABSENT, MachineState.STOPPED, MachineState.UP)
    here.down("one", told)
    assert here.observe("one").machine is MachineState.ABSENT
    eventually(lambda: processes_of(local_home) == [])


def test_an_engine_outlives_the_terminal_that_launched_it(
    here: LocalTarget, local_home: Path, command: Start, told: Told
) -> None:
    launching = command("launch")
    assert launching.wait(20) == 0
    up(here, "one")
    with suppress(ProcessLookupError):
        os.killpg(launching.pid, signal.SIGHUP)
    assert here.observe("one").machine is MachineState.UP
    here.down("one", told)
    assert processes_of(local_home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("behave", ["", "deaf,child"])
def test_a_run_in_the_foreground_shows_the_log_and_ends_cleanly_when_asked(
    here: LocalTarget, local_home: Path, command: Start, number: signal.Signals, behave: str
) -> None:
    running = command("foreground", behave)
    assert running.stdout is not None
    for line in running.stdout:
        if line == "Application startup complete.\n":
            break
    running.send_signal(number)
    assert running.stdout.read().endswith("returned\n")
    assert running.wait(20) == 0
    assert here.observe("one").machine is MachineState.ABSENT
    assert processes_of(local_home) == []


def test_a_run_in_the_foreground_that_is_killed_takes_its_engine_along(
    here: LocalTarget, local_home: Path, command: Start
) -> None:
    running = command("foreground")
    up(here, "one")
    running.kill()
    eventually(lambda: processes_of(local_home) == [])
    assert here.observe("one").machine is MachineState.ABSENT


def test_an_engine_that_ends_in_the_foreground_is_a_failure_that_says_why(
    here: LocalTarget, told: Told
) -> None:
    with pytest.raises(EngineFailed, match=r"exited with 3 at .* do not fit into the memory") as raised:
        here.foreground(plan_here("one", BEHAVE="crash"), {}, told)
    assert raised.value.details == ("RuntimeError: No available memory for the cache blocks",)
    assert told.lines == ["RuntimeError: No available memory for the cache blocks"]
    assert here.observe("one").machine is MachineState.ABSENT
