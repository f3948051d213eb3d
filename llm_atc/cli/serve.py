"""`llm-atc serve`: from a model's name to an endpoint."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.options import AsJson, DetachRun, DetachSetup, Invocation, Timeout, Yes, asking
from llm_atc.cli.request import NOTHING_TYPED, Typed, ask, takes_request, with_model

if TYPE_CHECKING:
    from llm_atc.launcher import Status, Until
    from llm_atc.plan.plan import Plan
    from llm_atc.plan.request import Request
    from llm_atc.ports import World

NO_KEY = "Without a key, everybody who reaches the address can use the model at your cost. Go on?"


@takes_request
def serve(
    context: typer.Context,
    positional: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model: the same as --name.", show_default=False),
    ] = None,
    typed: Typed = NOTHING_TYPED,
    detach_setup: DetachSetup = False,
    detach_run: DetachRun = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="With --cloud local: in this terminal, until Ctrl-C.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the task that would be launched, and stop.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Start what is known not to start.")] = False,
    timeout: Timeout = 3600,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every line that is said meanwhile.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Serve a model, here or in a cloud, and wait until it has answered once.

    What follows `--` goes to the engine as it is: llm-atc serve MODEL … -- --max-model-len 4096
    """
    from llm_atc.launcher import Until

    invocation = context.obj if isinstance(context.obj, Invocation) else Invocation()
    request = ask(with_model(typed, positional), invocation.engine_args).request
    if foreground:
        _check_foreground(request, elsewhere=as_json or detach_run or detach_setup)
    if dry_run:
        _print_task(request, as_json)
        return
    if foreground:
        _serve_in_foreground(request, yes, force)
        return
    until = Until.SUBMITTED if detach_setup else Until.SET_UP if detach_run else Until.READY
    _serve(request, yes, as_json, verbose, timeout, until=until, force=force)


def show_landed(world: World, status: Status) -> None:
    """What a user wants to know when the endpoint has answered."""
    from llm_atc import launcher
    from llm_atc.cli import output

    plan = launcher.find(world, status.name).plan
    if plan.private and world.tunnels.current(status.name) is None:
        output.print_landed_private(status.name, status.model)
    else:
        output.print_landed(launcher.endpoint(world, status.name), local=plan.place.local)


def open_world() -> World:
    """Every port, filled."""
    from llm_atc.bootstrap import world
    from llm_atc.settings import Settings

    return world(Settings.read(os.environ))


def _check_foreground(request: Request, *, elsewhere: bool) -> None:
    from llm_atc.errors import UsageError

    if elsewhere:
        raise UsageError("--foreground stays in this terminal: it goes with no --json and no --detach.")
    if not request.place.local:
        raise UsageError("--foreground is for this machine.", hint="--cloud local --foreground")


def _print_task(request: Request, as_json: bool) -> None:
    from llm_atc.cli import output
    from llm_atc.outlook import look

    world = open_world()
    found = look(world, request, ask=False)
    decided = found.startable(force=True)
    for sentence in found.warnings():
        typer.echo(f"· {sentence}", err=True)
    if as_json:
        output.print_json(_facts_of(world, decided))
    else:
        sys.stdout.write(text_of(world, decided))


def text_of(world: World, plan: Plan) -> str:
    """What would be launched: a SkyPilot task, or the command of this machine."""
    from llm_atc.bootstrap import render
    from llm_atc.render.command import text

    return text(plan, world.models.path(plan.model)) if plan.place.local else render(plan)


def _facts_of(world: World, plan: Plan) -> dict[str, Any]:
    """What `text_of` says, as values."""
    import yaml

    from llm_atc.bootstrap import render
    from llm_atc.render.command import facts

    if plan.place.local:
        return facts(plan, world.models.path(plan.model))
    return {"task": yaml.safe_load(render(plan))}


def _serve_in_foreground(request: Request, yes: bool, force: bool) -> None:
    from llm_atc import launcher
    from llm_atc.cli.progress import Progress

    if not request.auth:
        asking(yes)(NO_KEY)
    report = Progress(verbose=True)
    launcher.serve_in_foreground(open_world(), request, report, force=force)


def _serve(
    request: Request,
    yes: bool,
    as_json: bool,
    verbose: bool,
    timeout: float,
    *,
    until: Until,
    force: bool,
) -> None:
    from llm_atc import launcher
    from llm_atc.cli import output
    from llm_atc.cli.foretold import screen
    from llm_atc.cli.progress import Progress
    from llm_atc.launcher import Until

    ask = asking(yes)
    if not request.auth:
        ask(NO_KEY)
    world = open_world()
    with Progress(verbose=verbose) as report:
        status = launcher.serve(
            world,
            request,
            report,
            confirm=report.pausing(ask),
            order=report.pausing(asking(yes, unheard=True)),
            show=report.pausing(screen(world, request)),
            until=until,
            timeout=timeout,
            force=force,
        )
    if as_json:
        output.print_json(output.status_facts(status))
    elif until is Until.READY:
        show_landed(world, status)
    else:
        output.print_statuses([status])
        typer.echo(f"· Watch it with: llm-atc status {status.name} --watch", err=True)
    if not as_json and (line := output.running_line([status])):
        typer.echo(f"· {line}", err=True)
