"""The `llm-atc` command: its groups, and the one door where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

import llm_atc
from llm_atc.cli import (
    accelerators,
    chat,
    checkpoints,
    config,
    connect,
    doctor,
    download,
    engines,
    fit,
    generate,
    lifecycle,
    parse,
    plan,
    serve,
    status,
    timeline,
)
from llm_atc.cli.options import Invocation
from llm_atc.cli.request import laid_at_its_source
from llm_atc.errors import AtcError

DEBUG = "LLM_ATC_DEBUG"

app = typer.Typer(
    name="llm-atc",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From a model's name to an OpenAI-compatible endpoint, and safely down again.",
)
app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("endpoint")(status.endpoint)
app.command("connect")(connect.connect)
app.command("logs")(status.logs)
app.command("timeline")(timeline.timeline)
app.command("stop")(lifecycle.stop)
app.command("start")(lifecycle.start)
app.command("restart")(lifecycle.restart)
app.command("extend")(lifecycle.extend)
app.command("down")(lifecycle.down)
app.command("generate")(generate.generate)
app.command("download")(download.download)
app.command("doctor")(doctor.doctor)
app.command("fit")(fit.fit)
app.command("accelerators")(accelerators.accelerators)
app.command("parse")(parse.parse)
app.add_typer(download.models_app, name="models")
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(config.app, name="config")
app.add_typer(engines.app, name="engines")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"llm-atc {llm_atc.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Open language models on your own hardware or your own cloud account."""


def run(argv: Sequence[str] | None = None) -> None:
    """The entry point: what follows `--` goes to the engine, the rest is parsed; errors become exit codes."""
    words = list(sys.argv[1:] if argv is None else argv)
    engine_args: tuple[str, ...] = ()
    if "--" in words and words[:1] in (["serve"], ["chat"], ["plan"]):
        cut = words.index("--")
        words, engine_args = words[:cut], tuple(words[cut + 1 :])
    command = typer.main.get_command(app)
    try:
        command.main(args=words, prog_name="llm-atc", obj=Invocation(engine_args=engine_args))
    except AtcError as error:
        told = laid_at_its_source(error)
        show_error(told)
        sys.exit(told.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does: that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        show_error(
            AtcError(
                f"This is a fault of llm-atc itself: {type(error).__name__}: {error}",
                hint=f"{DEBUG}=1 llm-atc …   shows where it happened",
            )
        )
        sys.exit(1)


def show_error(error: AtcError) -> None:
    """What happened, what shows it, and the command that helps; on stderr."""
    from llm_atc.cli.output import talk

    console = talk()
    stage = f"{error.stage}: " if error.stage else ""
    console.print(f"[bold red]Error:[/] {stage}{_plain(error.message)}")
    for line in error.details:
        console.print(f"  {_plain(line)}", style="dim" if line != error.details[-1] else None)
    if error.hint:
        console.print(f"[bold]Try:[/] {_plain(error.hint)}")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
