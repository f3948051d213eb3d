"""`llm-atc engines`: the engines installed on this machine, each in an environment of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, Yes, asking

if TYPE_CHECKING:
    from llm_atc.engines.installer import EnginesHere

app = typer.Typer(
    name="engines", help="Install, list and remove engines on this machine.", no_args_is_help=True
)


def _engines() -> EnginesHere:
    from llm_atc.engines.installer import EnginesHere
    from llm_atc.settings import Settings

    return EnginesHere(Settings.read(os.environ).home)


@app.command("install")
def install(
    engine: Annotated[str, typer.Argument(help="vllm or llama-cpp.", show_default=False)],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the installer says.")] = False,
) -> None:
    """Install an engine at its pinned version; nothing happens when it is there."""
    from llm_atc.cli.progress import Progress
    from llm_atc.errors import UsageError
    from llm_atc.plan import llama_cpp, vllm
    from llm_atc.plan.engine import EngineName

    if engine not in list(EngineName):
        raise UsageError(f"No engine is called {engine!r}.", hint="llm-atc engines install vllm")
    engines = _engines()
    if engine == EngineName.LLAMA_CPP:
        pin = llama_cpp.PIN
    else:
        pin = vllm.CURRENT.pin if engines.machine().gpus else vllm.CPU_PIN
    with Progress(verbose=verbose) as report:
        path = engines.ensure(pin, report)
    typer.echo(path)


@app.command("list")
def list_engines(as_json: AsJson = False) -> None:
    """List the engines that are installed here."""
    from rich.table import Table

    from llm_atc.cli import output

    found = _engines().installed()
    if as_json:
        output.print_json(
            [
                {
                    "environment": one.environment,
                    "engine": one.engine,
                    "version": one.version,
                    "path": str(one.path),
                    "bytes": one.bytes,
                    "complete": one.complete,
                }
                for one in found
            ]
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("ENVIRONMENT", "VERSION", "SIZE", "STATE", "PATH"):
        table.add_column(heading, overflow="fold")
    for one in found:
        state = "complete" if one.complete else "[yellow]incomplete[/]"
        table.add_row(one.environment, one.version, f"{one.bytes / 1e9:.1f} GB", state, str(one.path))
    output.data().print(table)


@app.command("remove")
def remove(
    environment: Annotated[
        str, typer.Argument(help="As `engines list` names it, or vllm or llama-cpp for all of it.")
    ],
    yes: Yes = False,
) -> None:
    """Remove an engine's environment. Asks first."""
    engines = _engines()
    names = [one.environment for one in engines.installed() if environment in (one.environment, one.engine)]
    asking(yes)(f"Remove {', '.join(names) or environment}?")
    for name in names or [environment]:
        engines.remove(name)
        typer.echo(f"{name} is removed.", err=True)
