"""`llm-atc parse`: read an engine's command line, and say it in another way."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.options import AsJson

if TYPE_CHECKING:
    from llm_atc.plan.command_line import CommandLine

_STRUCTURED = re.compile(r"\s*(\{|(engine|model|options|env):)")
FORMS = ("yaml", "json", "serve", "line")


def parse(
    line: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LINE...", help="The line in quotes; without it, what comes on stdin.", show_default=False
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="yaml, json, serve (an llm-atc command) or line (the engine's own).")
    ] = "yaml",
    as_json: AsJson = False,
    lenient: Annotated[
        bool, typer.Option("--no-check", help="Skip what the engine checks after parsing.")
    ] = False,
) -> None:
    """Read a vLLM or llama-server command line, check it, and print what it sets.

    YAML and JSON as it prints them, and an llm-atc serve command, are read too. No engine needs to be
    installed: llm-atc parse 'vllm serve Qwen/Qwen3-0.6B -tp 2'
    """
    from llm_atc.errors import UsageError
    from llm_atc.plan.option_checks import check
    from llm_atc.store.engine_options import engine_options

    form = "json" if as_json else to
    if form not in FORMS:
        raise UsageError(f"--to {form!r} is none of {', '.join(FORMS)}.", hint="--to yaml")
    found = _read(_text(line))
    if not lenient:
        found = check(found, engine_options(found.engine))
    text, notes = _said(found, form)
    for note in (*found.notes, *notes):
        typer.echo(f"· {note}", err=True)
    typer.echo(text.rstrip("\n"))


def _text(line: list[str] | None) -> str:
    """What was given: one argument is a text, several are words; `-` and nothing are stdin."""
    import shlex

    from llm_atc.errors import UsageError

    if not line or line == ["-"]:
        if sys.stdin.isatty() and not line:
            raise UsageError("Give a line to read.", hint="llm-atc parse 'vllm serve MODEL …'")
        return sys.stdin.read()
    return line[0] if len(line) == 1 else shlex.join(line)


def _read(text: str) -> CommandLine:
    """A line, or the YAML or JSON that this command prints."""
    from llm_atc.plan.facts import read_facts
    from llm_atc.plan.pasted_line import parse as read_line
    from llm_atc.store.engine_options import engine_options

    facts = _mapping(text)
    return read_line(text, engine_options) if facts is None else read_facts(facts, engine_options)


def _mapping(text: str) -> dict[str, Any] | None:
    """What YAML or JSON says; None for a text that begins as neither does."""
    import yaml

    from llm_atc.errors import UsageError

    if not _STRUCTURED.match(text):
        return None
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"That begins as YAML or JSON, and is neither: {error}") from None
    return found if isinstance(found, dict) else None


def _said(found: CommandLine, form: str) -> tuple[str, tuple[str, ...]]:
    from llm_atc.render import options
    from llm_atc.store.engine_options import engine_options

    known = engine_options(found.engine)
    if form == "serve":
        return options.as_serve(found, known)
    if form == "line":
        return options.as_line(found, known), ()
    return (options.as_json if form == "json" else options.as_yaml)(found), ()
