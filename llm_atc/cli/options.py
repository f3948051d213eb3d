"""Every option that commands share, declared once, and the few values that the parser alone cannot read."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from llm_atc.errors import Declined


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What stands on the command line: `words` are all of it, `engine_args` those after `--`."""

    words: tuple[str, ...] = ()
    engine_args: tuple[str, ...] = ()

    def again(self, *more: str) -> str:
        """The command that goes on: this one, with these words too."""
        return shlex.join(["llm-atc", *self.words, *(word for word in more if word not in self.words)])


def invocation_of(context: typer.Context) -> Invocation:
    """What `main.run` has put down for the commands."""
    return context.obj if isinstance(context.obj, Invocation) else Invocation()


def finite(value: float | None) -> float | None:
    """The callback of every option that is a number: BadParameter for nan and inf, which pass all bounds."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number that can be counted with.")
    return value


Names = Annotated[list[str] | None, typer.Argument(help="One deployment, or several.", show_default=False)]
Name = Annotated[str, typer.Argument(help="The deployment.", show_default=False)]
All = Annotated[bool, typer.Option("--all", "-a", help="Every deployment.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer every question with yes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
DetachRun = Annotated[
    bool,
    typer.Option("--detach-run", "--detach_run", "-d", help="Return once the engine's process runs."),
]
DetachSetup = Annotated[
    bool,
    typer.Option("--detach-setup", "--detach_setup", help="Return once the machine has the job."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=1, callback=finite, help="Seconds for the whole: launch and first answer."),
]


def asking(yes: bool, *, unheard: bool = False) -> Callable[[str], None]:
    """A function that asks a question and raises Declined at a no; `--yes` answers for the user.

    Where nobody can answer, because there is no terminal, the answer is no; with `unheard` it is yes, for
    a question whose command was the order already.
    """

    def ask(question: str) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            if unheard:
                return
            raise Declined(f"{question} There is no terminal to answer on.", hint="add --yes")
        if not typer.confirm(question, err=True):
            raise Declined("Nothing was done.")

    return ask
