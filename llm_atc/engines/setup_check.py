"""Whether this machine is ready for engines: those installed, its disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from llm_atc.engines.installer import EnginesHere
from llm_atc.plan.fit import gib
from llm_atc.plan.preflight import Finding, broken, ok, warning

# vLLM's environment with CUDA, and a small model.
LEAST_DISK = 20 * 1024**3


def engines(here: EnginesHere) -> Iterator[Finding]:
    """Each engine that is installed; half an installation is broken."""
    found = here.installed()
    for one in found:
        if one.complete:
            yield ok("engine", f"{one.environment} is installed.")
        else:
            cure = f"llm-atc engines remove {one.environment}"
            yield broken("engine", f"{one.environment} is installed by half.", cure)
    if not found:
        yield ok("engine", "None is installed here: serve --cloud local installs the one it needs.")


def disk(home: Path) -> Iterator[Finding]:
    """Whether there is room for an engine and a model where llm-atc keeps them."""
    there = next(parent for parent in (home, *home.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if free < LEAST_DISK:
        says = f"{gib(free)} are free at {there}: an engine takes most of that."
        yield warning("disk", says, "llm-atc models")
    else:
        yield ok("disk", f"{gib(free)} are free at {there}.")
