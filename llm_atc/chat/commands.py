"""What a user types at the prompt: a command, or something to say. Pure."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from llm_atc.errors import UsageError

COMMANDS = {
    "help": ("", "Show this list."),
    "clear": ("", "Forget what was said; the system text stays."),
    "history": ("", "Show what was said."),
    "system": ("[TEXT|none]", "Show the system text, or set it."),
    "save": ("[NAME|FILE]", "Keep the conversation in a file."),
    "load": ("[NAME|FILE]", "Go on with a conversation that was kept; without a name, list them."),
    "model": ("[NAME]", "Show the endpoint's models, or change to another."),
    "params": ("[NAME VALUE|none]", "Show how answers are made, or change it: /params temperature 0.2"),
    "mcp": ("", "List tool servers and their tools."),
    "quit": ("", "Leave. Ctrl-D does, too."),
}
_COMMAND = re.compile(r"/([A-Za-z?-]*)(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and what stands behind it."""

    name: str
    argument: str = ""


def read_line(line: str) -> Command | str:
    """The command that was typed, or the text to say. Raises UsageError with the nearest command.

    A text that begins with a slash is typed with two; a path (`/etc/hosts`) is a text.
    """
    text = line.strip()
    if text.startswith("//"):
        return text[1:]
    found = _COMMAND.fullmatch(text)
    if found is None:
        return text
    name = found[1].lower()
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        raise UsageError(
            f"No command is called /{name}." + (f" Did you mean /{near[0]}?" if near else ""),
            hint="/help   (or // to say something that begins with a slash)",
        )
    return Command(name=name, argument=(found[2] or "").strip())


def help_lines() -> list[tuple[str, str]]:
    """Every command with its argument, and what it does."""
    return [(f"/{name} {argument}".rstrip(), told) for name, (argument, told) in COMMANDS.items()]
