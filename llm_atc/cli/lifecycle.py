"""`llm-atc stop`, `start`, `restart` and `down`: for one deployment, several, or all; `extend` for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from llm_atc.cli.options import All, AsJson, DetachRun, Name, Names, Timeout, Yes, asking
from llm_atc.cli.serve import open_world, show_landed
from llm_atc.errors import AtcError, UsageError


def _each(
    names: list[str] | None, everything: bool, act: Callable[[str], None], all_names: list[str]
) -> None:
    """Act on every name; one that fails does not keep the others from it, and its error comes at the end."""
    if bool(names) is everything:
        raise UsageError("Say which deployments: their names, or --all.", hint="llm-atc status")
    failed: AtcError | None = None
    for name in dict.fromkeys(all_names if everything else names or ()):
        try:
            act(name)
        except AtcError as error:
            if error.exit_code == 130:
                raise
            if failed is not None:
                from llm_atc.cli.main import show_error

                show_error(failed)
            failed = error
    if failed is not None:
        raise failed


def stop(names: Names = None, everything: All = False, as_json: AsJson = False) -> None:
    """Stop engines and machines; disks and keys are kept for `start`."""
    from llm_atc import launcher
    from llm_atc.cli import output
    from llm_atc.cli.progress import Progress

    world, done = open_world(), []

    def act(name: str) -> None:
        done.append(launcher.stop(world, name, Progress()))
        if not as_json:
            typer.echo(f"{name} is stopped. Bring it back with: llm-atc start {name}", err=True)

    try:
        _each(names, everything, act, [d.name for d in world.store.all()])
    finally:
        if as_json:
            output.print_json([output.status_facts(status) for status in done])


def start(
    names: Names = None,
    everything: All = False,
    detach_run: DetachRun = False,
    timeout: Timeout = 3600,
    as_json: AsJson = False,
) -> None:
    """Bring stopped deployments back, each with the key that it had."""
    _bring_back(names, everything, detach_run, timeout, as_json)


def restart(
    names: Names = None,
    everything: All = False,
    detach_run: DetachRun = False,
    timeout: Timeout = 3600,
    as_json: AsJson = False,
) -> None:
    """End engines and start them anew, on the machines that they have."""
    _bring_back(names, everything, detach_run, timeout, as_json, ended_first=True)


def _bring_back(
    names: list[str] | None,
    everything: bool,
    detach_run: bool,
    timeout: float,
    as_json: bool,
    *,
    ended_first: bool = False,
) -> None:
    from llm_atc import launcher
    from llm_atc.cli import output
    from llm_atc.cli.progress import Progress
    from llm_atc.launcher import Until

    world, done = open_world(), []
    until = Until.SET_UP if detach_run else Until.READY

    def act(name: str) -> None:
        with Progress() as report:
            begin = launcher.restart if ended_first else launcher.start
            status = begin(world, name, report, until=until, timeout=timeout)
        done.append(status)
        if not as_json and until is Until.READY:
            show_landed(world, status)

    try:
        _each(names, everything, act, [d.name for d in world.store.all()])
        if not as_json and (line := output.running_line(done)):
            typer.echo(f"· {line}", err=True)
    finally:
        if as_json:
            output.print_json([output.status_facts(status) for status in done])


def extend(
    name: Name,
    ttl: Annotated[str | None, typer.Option("--ttl", help="How much longer it may run: 2h, 90m.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="How many US dollars more: 10.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a machine more time or money, also while it runs."""
    from llm_atc import launcher
    from llm_atc.cli import output
    from llm_atc.plan.ending import read_budget, read_duration

    if ttl is None and budget is None:
        raise UsageError(
            "Say how much longer, or how many dollars more.", hint=f"llm-atc extend {name} --ttl 2h"
        )
    status = launcher.extend(
        open_world(),
        name,
        ttl=None if ttl is None else read_duration(ttl, flag="--ttl"),
        budget=None if budget is None else read_budget(budget, flag="--budget"),
    )
    if as_json:
        output.print_json(output.status_facts(status))
    else:
        typer.echo(f"{name} may go on. {status.ends or ''}".rstrip(), err=True)


def down(names: Names = None, everything: All = False, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove machines, disks, keys and all that is remembered. Asks first."""
    from llm_atc import launcher
    from llm_atc.cli import output
    from llm_atc.cli.progress import Progress

    world, done = open_world(), []
    wanted = [d.name for d in world.store.all()] if everything else names or []
    if wanted:
        asking(yes)(f"Remove {', '.join(wanted)}, with all that lies on its machine, and its keys?")

    def act(name: str) -> None:
        status = launcher.down(world, name, Progress())
        done.append(status)
        if not as_json:
            typer.echo(f"{name} is gone, and so are its keys.{output.receipt(status)}", err=True)

    try:
        _each(names, everything, act, [d.name for d in world.store.all()])
    finally:
        if as_json:
            output.print_json([output.status_facts(status) for status in done])
