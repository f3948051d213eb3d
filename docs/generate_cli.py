"""Write docs/cli.md from the command line itself.

python docs/generate_cli.py            write it anew
python docs/generate_cli.py --check    exit 1 when it no longer says what the program does
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from llm_atc.cli.main import app

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Command line

Made by `make docs` from the program's own help. What the options are for: [Serving](serving.md).
"""


def page() -> str:
    """The whole page, the same for the same program."""
    return "\n".join([HEAD, *_command(typer.main.get_command(app()), "llm-atc", None)])


def _command(command: Any, path: str, parent: Any) -> Iterator[str]:
    """A command's section, and those of the commands below it. (Typer's own copy of Click has no types.)"""
    context = typer.Context(
        command, info_name=path.rpartition(" ")[2], parent=parent, terminal_width=100, max_content_width=100
    )
    yield f"## `{path}`\n"
    yield f"{_text(command.help)}\n"
    usage = command.get_usage(context).removeprefix("Usage: ")
    usage = re.sub(r"\[\[(.+?)\]\]", r"[\1]", usage).replace("...]...", "...]")
    yield f"```text\n{usage}\n```\n"
    rows = [
        (_name(record[0], p.param_type_name), record[1])
        for p in command.get_params(context)
        if (record := p.get_help_record(context))
    ]
    if rows:
        yield "| option | what it does |\n| --- | --- |"
        yield from (f"| `{name}` | {_text(what)} |" for name, what in rows)
        yield ""
    for name, below in getattr(command, "commands", {}).items():
        yield from _command(below, f"{path} {name}", context)


def _name(text: str, kind: str) -> str:
    """An option with its type, an argument without: as every version of Typer that is allowed has it."""
    text = text.split(" <")[0] if kind == "argument" else re.sub(r"<list\[(\w+)\]>", r"<\1>", text)
    return text.strip("[]").replace("|", r"\|") if kind == "argument" else text.replace("|", r"\|")


def _text(text: str | None) -> str:
    return (text or "").replace("|", r"\|").strip()


def main(arguments: list[str]) -> int:
    """Write or check the page; the exit code."""
    made = page()
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == made:
            return 0
        sys.stderr.write(f"{PAGE} is not what the program says. Write it anew with: make docs\n")
        return 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
