"""`llm-atc status`, `endpoint` and `logs`: what is there, where it answers, what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, Name, Names
from llm_atc.cli.serve import open_world
from llm_atc.errors import UsageError

if TYPE_CHECKING:
    from llm_atc.launcher import Status


WATCH_SECONDS = 10.0


def status(
    names: Names = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again and again, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show deployments as they are now, asking their clouds."""
    if watch:
        if as_json:
            raise UsageError("--watch is for people: it goes with no --json.", hint="leave one away")
        _watch(names)
        return
    _show(_look(names), as_json)


def _look(names: list[str] | None) -> list[Status]:
    from concurrent.futures import ThreadPoolExecutor

    from llm_atc import launcher

    world = open_world()
    wanted = names or [deployment.name for deployment in world.store.all()]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda name: launcher.status_of(world, name, fresh=True), wanted))


def _watch(names: list[str] | None) -> None:
    """The table anew, over itself on a terminal, until Ctrl-C; then what goes on costing money, once."""
    import time

    from llm_atc.cli import output

    console, found = output.data(), []
    try:
        while True:
            found = _look(names)
            if console.is_terminal:
                console.clear()
            _show(found, as_json=False)
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        if line := output.running_line(found):
            typer.echo(f"· {line}", err=True)


def _show(found: list[Status], as_json: bool) -> None:
    from llm_atc.cli import output

    if as_json:
        output.print_json([output.status_facts(status) for status in found])
    elif found:
        output.print_statuses(found)
    else:
        typer.echo("Nothing is deployed. Begin with: llm-atc serve --help", err=True)


def endpoint(
    name: Name,
    env: Annotated[
        bool, typer.Option("--env", help="As OPENAI_BASE_URL, OPENAI_API_KEY and MODEL, for eval.")
    ] = False,
    curl: Annotated[bool, typer.Option("--curl", help="As a curl command.")] = False,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Its certificate (PEM), for clients to know it by.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print where a deployment answers."""
    from llm_atc import launcher
    from llm_atc.cli import output

    found = launcher.endpoint(open_world(), name)
    if as_json:
        output.print_json(output.endpoint_facts(found))
    elif env:
        typer.echo(output.env_lines(found))
    elif certificate:
        typer.echo(output.certificate_text(found), nl=False)
    elif curl:
        typer.echo(output.curl_line(found))
    else:
        typer.echo(f"{found.url}/v1")


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the engine ends.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", min=1, help="The last N lines only.")] = None,
) -> None:
    """Print the engine's log."""
    from llm_atc import launcher

    for line in launcher.logs(open_world(), name, follow=follow, lines=lines):
        typer.echo(line)
