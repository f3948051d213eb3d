"""Everything that the user runs, gone at once; and waiting for what becomes of machines then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.cloud.client import SimulatedRegion


def wait_until(holds: Callable[[], bool], seconds: float) -> float:
    """The seconds until this holds; an error when it does not."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} seconds"
        time.sleep(0.5)
    return time.monotonic() - began


def leave(region: SimulatedRegion) -> None:
    """Kill all that the user runs: commands, and SkyPilot's API server with its workers."""
    for pid in region.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def stopped(region: SimulatedRegion) -> bool:
    return [machine.state for machine in region.instances()] == ["stopped"]
