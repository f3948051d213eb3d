"""The ``region`` fixture; load it with ``pytest_plugins = ["tests.cloud.fixtures"]``.

Each xdist worker has a region of its own. Tests of one file go through a deployment's life in order, so run
xdist with ``--dist loadfile``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.cloud.client import SimulatedRegion, simulated_region

REQUIRE = "LLM_ATC_REQUIRE_CLOUD"


@pytest.fixture(scope="session")
def machines_can_be_simulated() -> None:
    """Skips where the kernel refuses namespaces, loudly; fails there when ``LLM_ATC_REQUIRE_CLOUD=1``."""
    if reason := _hindrance():
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but {reason}")
        pytest.skip(f"NO SIMULATED CLOUD, so nothing that launches a machine was tested: {reason}")


@pytest.fixture(scope="session")
def region(machines_can_be_simulated: None) -> Iterator[SimulatedRegion]:
    """A simulated cloud region under the real SkyPilot (seconds; minutes when the image has to be built)."""
    with simulated_region() as running:
        yield running


def _hindrance() -> str:
    """Why no machine can be simulated here; empty when it can."""
    if os.geteuid() != 0:
        return "simulated machines need root (namespaces, overlay mounts)"
    namespaces = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--net",
        "--uts",
        "--ipc",
        "--time",
        "--boottime",
        "-1",
    ]
    overlay = (
        "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && mkdir $d/l $d/u $d/w $d/m && "
        "mount -t overlay overlay -o lowerdir=$d/l,upperdir=$d/u,workdir=$d/w $d/m"
    )
    try:
        tried = subprocess.run(
            [*namespaces, "--", "sh", "-c", overlay], capture_output=True, text=True, timeout=30
        )
    except OSError as error:
        return f"unshare does not run: {error}"
    return (
        f"the kernel refuses namespaces or overlay mounts: {tried.stderr.strip()}" if tried.returncode else ""
    )
