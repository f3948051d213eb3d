"""Everything that the user runs, gone at once; and waiting for what becomes of machines then."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable

import psutil

from tests.cloud.client import Instance, SimulatedRegion


def wait_until(holds: Callable[[], bool], seconds: float) -> float:
    """The seconds until this holds; an error when it does not."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} seconds"
        time.sleep(0.5)
    return time.monotonic() - began


def leave(region: SimulatedRegion) -> None:
    """Kill all that the user runs: commands, and SkyPilot's API server with its workers.

    A worker that has overwritten its environment, and has no file open just then, is known by its parent.
    """
    while owned := region.processes():
        doomed: dict[int, psutil.Process] = {}
        for pid in owned:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                doomed |= {one.pid: one for one in (process, *process.children(recursive=True))}
        for one in doomed.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(list(doomed.values()), timeout=5)


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
