"""`llm-atc status`, `endpoint` and `logs`: what is there, where it answers, what it says."""

from __future__ import annotations

from typing import Annotated

import typer

from llm_atc.cli.options import AsJson, Name, Names
from llm_atc.cli.serve import open_world


def status(names: Names = None, as_json: AsJson = False) -> None:
    """Show deployments as they are now, asking their clouds."""
    from concurrent.futures import ThreadPoolExecutor

    from llm_atc import launcher
    from llm_atc.cli import output

    world = open_world()
    wanted = names or [deployment.name for deployment in world.store.all()]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: launcher.status_of(world, name, fresh=True), wanted))
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
