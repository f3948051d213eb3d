"""Serving a model for as long as a command runs, and leaving alone what ran before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm_atc.cli.options import asking

if TYPE_CHECKING:
    from llm_atc.launcher import Endpoint
    from llm_atc.plan.request import Request
    from llm_atc.ports import World


@contextmanager
def served(world: World, request: Request, *, yes: bool, timeout: float = 3600) -> Iterator[Endpoint]:
    """The endpoint of the model that the request names, while the context lasts.

    What answers already is used and left running. What was stopped is started, and stopped again at the end;
    what was not there is launched, and removed again with its keys. That holds after Ctrl-C and failures
    too, also before the endpoint answered. Raises what `launcher.serve` raises, and DeploymentError when the
    name belongs to another model.
    """
    from llm_atc import launcher
    from llm_atc.plan.model import ModelRef
    from llm_atc.plan.request import name_for

    name = request.name or name_for(ModelRef.parse(request.model, request.source).name)
    known = world.store.get(name)
    undo: Callable[..., object] = _nothing
    try:
        if known is None:
            undo = launcher.down
            _launch(world, request, yes=yes, timeout=timeout)
        else:
            undo = _wake(world, name, request, timeout)
        yield launcher.endpoint(world, name)
    finally:
        _end(world, name, undo)


def _nothing(world: World, name: str, report: object) -> None:
    pass


def _launch(world: World, request: Request, *, yes: bool, timeout: float) -> None:
    from llm_atc import launcher
    from llm_atc.cli.progress import Progress

    with Progress() as report:
        launcher.serve(
            world,
            request,
            report,
            confirm=report.pausing(asking(yes)),
            order=report.pausing(asking(yes)),
            timeout=timeout,
        )


def _wake(world: World, name: str, request: Request, timeout: float) -> Callable[..., object]:
    """Bring a known deployment to an answer; what undoes that."""
    from llm_atc import launcher
    from llm_atc.cli.progress import Progress
    from llm_atc.errors import DeploymentError
    from llm_atc.plan.model import ModelRef
    from llm_atc.states import State

    ref = launcher.find(world, name).plan.model.ref
    if request.model != name and ModelRef.parse(request.model, request.source).location != ref.location:
        raise DeploymentError(
            f"{name} is a deployment of {ref.name} already.", hint="-c ANOTHER_NAME   (or no --serve)"
        )
    if launcher.status_of(world, name).state in (State.READY, State.STARTING):
        undo: Callable[..., object] = _nothing
    else:
        undo = launcher.stop
    try:
        with Progress() as report:
            launcher.start(world, name, report, timeout=timeout)
    except BaseException:
        _end(world, name, undo)
        raise
    return undo


def _end(world: World, name: str, undo: Callable[..., object]) -> None:
    from llm_atc.cli.progress import Progress

    if undo is _nothing or world.store.get(name) is None:
        return
    from llm_atc.cli.output import talk

    talk().print(f"· Ending {name}, which was started for this.", markup=False)
    undo(world, name, Progress())
