"""The `llm-atc` command: its groups, and the one door where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

import llm_atc
from llm_atc.cli.options import Invocation
from llm_atc.errors import AtcError

DEBUG = "LLM_ATC_DEBUG"
# Every command and every group of commands, in the order of help: the module below this one, and its name in
# there. A command line loads the one that it names, for each takes milliseconds to load and to build.
COMMANDS = {
    "serve": ("serve", "serve"),
    "chat": ("chat", "chat"),
    "plan": ("plan", "plan"),
    "status": ("status", "status"),
    "endpoint": ("status", "endpoint"),
    "connect": ("connect", "connect"),
    "logs": ("status", "logs"),
    "timeline": ("timeline", "timeline"),
    "stop": ("lifecycle", "stop"),
    "start": ("lifecycle", "start"),
    "restart": ("lifecycle", "restart"),
    "extend": ("lifecycle", "extend"),
    "down": ("lifecycle", "down"),
    "generate": ("generate", "generate"),
    "download": ("download", "download"),
    "doctor": ("doctor", "doctor"),
    "fit": ("fit", "fit"),
    "accelerators": ("accelerators", "accelerators"),
    "parse": ("parse", "parse"),
}
GROUPS = {
    "models": ("download", "models_app"),
    "checkpoints": ("checkpoints", "app"),
    "config": ("config", "app"),
    "engines": ("engines", "app"),
}


def app(named: str | None = None) -> typer.Typer:
    """The whole program; with the name of a command, the program with that command alone."""
    made = typer.Typer(
        name="llm-atc",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="From a model's name to an OpenAI-compatible endpoint, and safely down again.",
    )
    made.callback()(main)
    alone = named in COMMANDS or named in GROUPS
    for name, place in COMMANDS.items():
        if name == named or not alone:
            made.command(name)(_loaded(*place))
    for name, place in GROUPS.items():
        if name == named or not alone:
            made.add_typer(_loaded(*place), name=name)
    return made


def _loaded(module: str, name: str) -> Any:
    return getattr(import_module(f"llm_atc.cli.{module}"), name)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"llm-atc {llm_atc.__version__}")
        raise typer.Exit


def main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Open language models on your own hardware or your own cloud account."""


def run(argv: Sequence[str] | None = None) -> None:
    """The entry point: what follows `--` goes to the engine, the rest is parsed; errors become exit codes."""
    words = list(sys.argv[1:] if argv is None else argv)
    typed = tuple(words)
    # SkyPilot keeps the command line with each of its requests, and reports it: a secret may stand there.
    sys.argv[1:] = words[:1]
    engine_args: tuple[str, ...] = ()
    if "--" in words and words[:1] in (["serve"], ["chat"], ["plan"]):
        cut = words.index("--")
        words, engine_args = words[:cut], tuple(words[cut + 1 :])
    command = typer.main.get_command(app(words[0] if words else None))
    try:
        command.main(args=words, prog_name="llm-atc", obj=Invocation(words=typed, engine_args=engine_args))
    except AtcError as error:
        from llm_atc.cli.request import laid_at_its_source

        told = laid_at_its_source(error)
        show_error(told)
        sys.exit(told.exit_code)
    except SystemExit as ended:
        # Typer and rich both end with 1 where the reader of our output went away, as `| head` does.
        if ended.code == 1 and isinstance(ended.__context__, BrokenPipeError):
            sys.exit(0)
        raise
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
    finally:
        _drop_unread()


def _drop_unread() -> None:
    """Let go of what was written and nobody reads, which Python would complain of at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_error(error: AtcError) -> None:
    """What happened, what shows it, and the command that helps; on stderr."""
    from llm_atc.cli.output import talk

    console = talk()
    stage = f"{error.stage}: " if error.stage else ""
    console.print(f"[bold red]Error:[/] {stage}{_plain(error.message)}")
    for line in error.details:
        console.print(f"  {_plain(line)}", style="dim" if error.left or line != error.details[-1] else None)
    if error.left:
        console.print(f"  {_plain(error.left)}")
    if error.hint:
        console.print(f"[bold]Try:[/] {_plain(error.hint)}")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
