"""An engine in a container, by the user's own `docker run … IMAGE` line."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from llm_atc.plan.model import Where
from llm_atc.plan.plan import Plan

_PROGRAMS = ("docker", "podman", "nerdctl")


def is_container(executable: tuple[str, ...]) -> bool:
    """Whether these words start a container."""
    return executable[0].rpartition("/")[2] in _PROGRAMS and executable[1:2] == ("run",)


def container(executable: tuple[str, ...], paths: Iterable[str], variables: Iterable[str]) -> tuple[str, ...]:
    """The line with what llm-atc needs of it, right behind `run`, where the user's own flags come after.

    The container has this machine's network, because the engine listens on the loopback; sees the given paths
    where they are here; gets these variables from the environment, by name; and is removed when it ends.
    """
    added = ["--rm", "--init", "--network", "host"]
    for path in paths:
        added += ["--volume", f"{path}:{path}:ro"]
    for name in sorted(variables):
        added += ["--env", name]
    return (*executable[:2], *added, *executable[2:])


def mounts(plan: Plan, model: str) -> tuple[str, ...]:
    """The paths of this machine that the engine reads: the model, unless it is the hub's, and adapters."""
    named = () if plan.model.ref.where is Where.HUB else (model,)
    lora = (
        plan.arguments[plan.arguments.index("--lora-modules") + 1 :]
        if "--lora-modules" in plan.arguments
        else ()
    )
    found = [*named, *(word.partition("=")[2] for word in lora if "=/" in word)]
    found += [
        path
        for flag, path in pairwise(plan.arguments)
        if flag in ("--chat-template", "--chat-template-file", "--lora")
    ]
    return tuple(dict.fromkeys(path for path in found if path.startswith("/")))
