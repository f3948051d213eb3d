"""Serving a model for as long as a command runs, and leaving alone what ran before it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from llm_atc.cli.options import asking

if TYPE_CHECKING:
    from llm_atc.launcher import Endpoint
    from llm_atc.plan.model import ModelRef, ModelSpec
    from llm_atc.plan.request import Request
    from llm_atc.ports import World

# What ends a command: Ctrl-C, `timeout` or a service manager, and a terminal window that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def served(world: World, request: Request, *, yes: bool, timeout: float = 3600) -> Iterator[Endpoint]:
    """The endpoint of the model that the request names, while the context lasts.

    What answers already is used and left running. What was stopped is started, and stopped again at the end;
    what was not there is launched, and removed again with its keys. That holds after failures, Ctrl-C,
    SIGTERM and a closed terminal too, also before the endpoint answered. Raises what `launcher.serve` raises,
    and DeploymentError when the name belongs to another model. To be called in the main thread.
    """
    from llm_atc import launcher
    from llm_atc.errors import AtcError, Declined, DeploymentBusy, Interrupted
    from llm_atc.plan.model import ModelRef
    from llm_atc.plan.request import name_for

    name = request.name or name_for(ModelRef.parse(request.model, request.source).name)
    undo: Callable[..., object] | None = None
    told: AtcError | None = None
    with _heard({signal.SIGTERM: _leave, signal.SIGHUP: _leave}):
        try:
            undo = _undoing(world, name, request)
            if undo is launcher.down:
                _launch(world, request, yes=yes, timeout=timeout)
            else:
                _start(world, name, timeout)
            yield launcher.endpoint(world, name)
        except AtcError as error:
            told = error
            if isinstance(error, Declined | DeploymentBusy):
                undo = None  # nothing was started, and what is there is another command's
            raise
        finally:
            with _heard(dict.fromkeys(SIGNALS, _nothing)):
                ended = _end(world, name, undo)
            if told is not None and ended:
                told.left = None
                told.hint = None if isinstance(told, Interrupted) else told.hint


def _leave(number: int, _: FrameType | None) -> None:
    """End as a shell tells such an end, by way of everything that cleans up."""
    raise SystemExit(128 + number)


def _nothing(number: int, _: FrameType | None) -> None:
    """Let what is being ended be ended. (Ignored signals would stay ignored in what is started meanwhile.)"""


@contextmanager
def _heard(handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """While it lasts, these signals do something else. One that is ignored, as by nohup, stays so."""
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def _undoing(world: World, name: str, request: Request) -> Callable[..., object] | None:
    """What will undo the start; None for what runs already. DeploymentError for another model."""
    from llm_atc import launcher
    from llm_atc.errors import DeploymentError
    from llm_atc.plan.model import ModelRef
    from llm_atc.states import State

    if world.store.get(name) is None:
        return launcher.down
    known = launcher.find(world, name).plan.model
    if request.model != name and not _same(ModelRef.parse(request.model, request.source), known):
        raise DeploymentError(
            f"{name} is a deployment of {known.ref.name} already.", hint="-c ANOTHER_NAME   (or no --serve)"
        )
    running = launcher.status_of(world, name).state in (State.READY, State.STARTING)
    return None if running else launcher.stop


def _same(asked: ModelRef, known: ModelSpec) -> bool:
    """Whether both are one model: a path may be written in several ways, and name the file or its folder."""
    from llm_atc.plan.model import Where
    from llm_atc.sources.disk import absolute

    place = str(absolute(asked.location)) if asked.where is Where.DISK else asked.location
    places = (known.ref.location, f"{known.ref.location}/{known.file}")
    return (
        asked.where is known.ref.where
        and place in places
        and asked.quantization in (None, known.ref.quantization)
    )


def _launch(world: World, request: Request, *, yes: bool, timeout: float) -> None:
    from llm_atc import launcher
    from llm_atc.cli.foretold import screen
    from llm_atc.cli.progress import Progress

    with Progress() as report:
        launcher.serve(
            world,
            request,
            report,
            confirm=_launched_meanwhile,
            order=report.pausing(asking(yes)),
            show=report.pausing(screen(world, request)),
            timeout=timeout,
            force=None,
        )


def _launched_meanwhile(question: str) -> None:
    """In place of the question whether to replace it: it was not there a moment ago."""
    from llm_atc.errors import DeploymentBusy

    raise DeploymentBusy("Another command launched it just now.", hint="llm-atc status   (then once more)")


def _start(world: World, name: str, timeout: float) -> None:
    from llm_atc import launcher
    from llm_atc.cli.progress import Progress

    with Progress() as report:
        launcher.start(world, name, report, timeout=timeout)


def _end(world: World, name: str, undo: Callable[..., object] | None) -> bool:
    """Undo the start; whether there was anything to undo."""
    from llm_atc.cli.output import talk
    from llm_atc.cli.progress import Progress

    if undo is None or world.store.get(name) is None:
        return False
    talk().print(f"· Ending {name}, which was started for this.", markup=False)
    undo(world, name, Progress())
    return True
