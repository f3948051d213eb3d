"""Everything that the user runs, gone at once; and waiting for what becomes of machines then."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from tests.cloud.client import Instance, SimulatedRegion


def wait_until(holds: Callable[[], bool], seconds: float) -> float:
    """The seconds until this holds; an error when it does not."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} seconds"
        time.sleep(0.5)
    return time.monotonic() - began


def leave(region: SimulatedRegion) -> None:
    """Kill all that the user runs: commands, and SkyPilot's API server with its workers."""
    while pids := region.processes():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def machine_of(region: SimulatedRegion, name: str) -> Instance | None:
    """A deployment's one machine; None where it has none."""
    found = [machine for machine in region.instances() if machine.cluster.startswith(f"{name}-")]
    return found[0] if found else None


def is_in(region: SimulatedRegion, name: str, state: str) -> bool:
    """Whether a deployment's machine is in this state."""
    machine = machine_of(region, name)
    return machine is not None and machine.state == state


def leave_a_launch(region: SimulatedRegion, *serve: str, when: Callable[[str], bool]) -> None:
    """Begin a launch, and leave everything as soon as this holds of what it said so far."""
    talk = region.home / "talk.txt"
    with talk.open("w") as told:
        serving = subprocess.Popen(
            serve,
            env=region.env,
            cwd=region.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        try:
            wait_until(lambda: when(talk.read_text()), 600)
        finally:
            leave(region)
            serving.wait()
