"""The guard of a new machine from its first boot, where SkyPilot has a door for it: on AWS.

It runs before anything else of ours or SkyPilot's does: what is launched and then left for dead ends too.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

from llm_atc.keeper import guard
from llm_atc.plan.plan import Plan

_DOOR = "post_provision_runcmd"
_overriding = threading.Lock()


@contextlib.contextmanager
def guarded(plan: Plan) -> Iterator[None]:
    """Requests of the block bring the guard to machines that they make. Beside what the user's own
    configuration of SkyPilot has them run; nothing is changed but these requests."""
    from sky import skypilot_config
    from sky.server import common

    # Of several machines one has SkyPilot's agent; a server elsewhere has a configuration that we do not see.
    if plan.ending.action is None or plan.num_nodes > 1 or not common.is_api_server_local():
        yield
        return
    theirs = skypilot_config.get_nested(("aws", _DOOR), [])
    commands = [*theirs, first_command(plan.ending.copy_minutes)]
    with _overriding, skypilot_config.override_skypilot_config({"aws": {_DOOR: commands}}):
        yield


def first_command(minutes: int) -> str:
    """One line of shell that installs the guard; it goes unquoted into YAML, so its letters are plain."""
    text = base64.b64encode(gzip.compress(Path(guard.__file__).read_bytes(), mtime=0)).decode()
    return (
        f"mkdir -p {guard.PLACE.parent} && echo {text} | base64 -d | gunzip > {guard.PLACE} "
        f"&& python3 {guard.PLACE} --install --minutes {minutes}"
    )
