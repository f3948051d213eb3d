"""Text as people paste it from a terminal, a script or a page, read as a shell reads it: commands of words.

Nothing is run and nothing is looked up: a variable has the value that an earlier line of the same text gave
it, and stands as it was written otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from llm_atc.errors import UsageError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = rf"\$\{{{_NAME}(?::?-[^}}]*)?\}}|\${_NAME}"
_TOKEN = re.compile(
    rf"""
      (?P<join>\\[ \t]*\r?\n)
    | (?P<escape>\\.)
    | (?P<single>'[^']*')
    | (?P<double>"(?:[^"\\]|\\.)*")
    | (?P<comment>(?<![^\s;&|])\#[^\n]*)
    | (?P<placeholder><[A-Za-z][A-Za-z0-9_ /-]*>)
    | (?P<redirect>(?:(?<![^\s])[0-9])?(?:&>>?|>>?&?|<)[ \t]*[^\s;|&<>]*)
    | (?P<pipe>\|(?!\|)[^\n;]*)
    | (?P<end>&&|\|\||[;\n&])
    | (?P<space>[ \t\r]+)
    | (?P<variable>{_VARIABLE})
    | (?P<substitution>\$\([^)]*\)|`[^`]*`)
    | (?P<plain>[^\s'"\\$`;|&<>]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ASSIGNMENT = re.compile(rf"({_NAME})=(.*)", re.DOTALL)
_PROMPT = re.compile(r"\A\s*\$[ \t]+")


@dataclass(slots=True)
class Script:
    """What a text says: its commands, each a list of words; the variables that it exports; remarks."""

    commands: list[list[str]] = field(default_factory=list)
    exported: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_script(text: str) -> Script:
    """Words, with quotes, backslashes, comments and redirections understood. UsageError for an open quote."""
    return _Scanner().read(_PROMPT.sub("", text))


def assignment(word: str) -> tuple[str, str] | None:
    """`NAME=VALUE` in two; None for any other word."""
    found = _ASSIGNMENT.fullmatch(word)
    return (found[1], found[2]) if found else None


class _Scanner:
    def __init__(self) -> None:
        self.script = Script()
        self.variables: dict[str, str] = {}
        self.words: list[str] = []
        self.word: str | None = None

    def read(self, text: str) -> Script:
        for found in _TOKEN.finditer(text):
            act: Callable[[str], None] = getattr(self, f"_{found.lastgroup}")
            act(found[0])
        self._end("")
        return self.script

    def _add(self, text: str) -> None:
        self.word = (self.word or "") + text

    _plain = _add

    def _space(self, text: str) -> None:
        if self.word is not None:
            self.words.append(self.word)
            self.word = None

    _join = _space

    def _escape(self, text: str) -> None:
        self._add(text[1])

    def _single(self, text: str) -> None:
        self._add(text[1:-1])

    def _double(self, text: str) -> None:
        inner = re.sub(_VARIABLE, lambda found: self._value(found[0]), text[1:-1])
        self._add(re.sub(r'\\([\\"$`]|\n)', lambda found: found[1].strip("\n"), inner))

    def _comment(self, text: str) -> None:
        """Says nothing."""

    def _placeholder(self, text: str) -> None:
        raise UsageError(f"{text} is a placeholder: put in its place what it stands for.")

    def _redirect(self, text: str) -> None:
        self._space("")
        self._note(f"{text.strip()} is left out: where output goes is not the engine's.")

    def _pipe(self, text: str) -> None:
        self._space("")
        self._note(f"{text.strip()} is left out: where output goes is not the engine's.")

    def _variable(self, text: str) -> None:
        self._add(self._value(text))

    def _substitution(self, text: str) -> None:
        self._note(f"{text} is not run: it stands as it was written.")
        self._add(text)

    def _other(self, text: str) -> None:
        if text in "'\"":
            raise UsageError(f"A quote ({text}) is never closed.")
        if text not in "\\`":
            self._add(text)

    def _value(self, text: str) -> str:
        name, _, default = text.strip("${}").partition("-")
        name = name.removesuffix(":")
        if name in self.variables:
            return self.variables[name]
        if default:
            return default
        self._note(f"{text} has no value in these lines: it stands as it was written.")
        return text

    def _end(self, text: str) -> None:
        self._space("")
        words, self.words = self.words, []
        if not words:
            return
        exporting = words[0] == "export"
        pairs = [assignment(word) for word in words[exporting:]]
        if None not in pairs:
            found = dict(pair for pair in pairs if pair is not None)
            self.variables |= found
            if exporting:
                self.script.exported |= found
        elif words[0].startswith("-") and self.script.commands:
            self.script.commands[-1] += words
            self._note(f"{words[0]} begins a line: it is read as the end of the line before.")
        else:
            self.script.commands.append(words)

    def _note(self, sentence: str) -> None:
        if sentence not in self.script.notes:
            self.script.notes.append(sentence)
