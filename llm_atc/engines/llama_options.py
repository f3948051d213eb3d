"""llama-server's options: their names from its help, their types by asking the program itself.

The help does not say which values are refused. So each option is tried with a few values before `--version`,
which ends the program as soon as all that stands before it has been read.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_atc.engines.programs import clean_environment

# Where the explanation begins; a header of more than 37 characters has it on the next line.
_COLUMN = 40
_FLAG = re.compile(r"(--?[A-Za-z][\w.-]*)(?:,\s*|\s+|$)")
_GROUP = re.compile(r"-----\s+(.*?)\s+-----")
_NOTES = re.compile(r"\s*\(env: \w+\)\s*")
_CHOICES = re.compile(r"[{\[<]([\w+-]+(?:[,|][\w+-]+)+)[}\]>]")
_ALLOWED = re.compile(r"allowed values: ([\w, +-]+?)(?= \(|$)")
_TWO = re.compile(r"[A-Z]+ [A-Z]+")
_ENDS = frozenset(
    {"--help", "--version", "--cache-list", "--completion-bash", "--list-devices", "--license", "--show-help"}
)
_NUMBER = re.compile(r"N|SEED|INDEX|PORT|F|SIMILARITY|SECONDS|<\d+(?:\.\.\.|\|)\d+>")
_NO_WORD = "no-such-word"
_OTHER_WORDS = ("0", "1", "true", "false", "enabled", "disabled", "auto", "on", "off")


def read_llama_options(executable: Path, version: str) -> dict[str, Any]:
    """The content of llama-server's data file."""
    done = subprocess.run(
        [executable, "--help"], capture_output=True, text=True, check=True, env=_environment()
    )
    with tempfile.TemporaryDirectory(prefix="llm-atc-") as folder:
        asked = _Asked(executable, folder)
        options = [_option(*entry, asked) for entry in _entries(done.stdout)]
    return {"engine": "llama-cpp", "version": version, "options": options}


def _environment() -> dict[str, str]:
    return {name: value for name, value in clean_environment().items() if not name.startswith("LLAMA_")}


class _Asked:
    """The program, asked whether it takes some words."""

    def __init__(self, executable: Path, folder: str) -> None:
        self.executable = executable
        self.folder = folder

    def takes(self, *words: str) -> bool:
        done = subprocess.run(
            [self.executable, *words, "--version"],
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=_environment(),
            timeout=30,
        )
        return done.returncode == 0


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Each option's group, header and explanation."""
    group, header, told = "", "", ""
    for line in text.splitlines():
        found = _GROUP.fullmatch(line.strip())
        if line.startswith("-") and header:
            yield group, header, told
            header = ""
        if found is not None:
            group = found[1]
        elif line.startswith("-"):
            inline = line[_COLUMN - 3 : _COLUMN].strip() == ""
            header, told = (line[:_COLUMN], line[_COLUMN:]) if inline else (line, "")
        else:
            told += f" {line.strip()}"
    if header:
        yield group, header, told


def _option(group: str, header: str, told: str, asked: _Asked) -> dict[str, Any]:
    flags, rest = [], header.strip()
    while found := _FLAG.match(rest):
        flags.append(found[1])
        rest = rest[found.end() :]
    told = " ".join(_NOTES.sub(" ", told).split())
    negatives = [] if rest else _negatives(flags)
    longs = [flag for flag in flags if flag.startswith("--") and flag not in negatives]
    name = (longs or flags)[-1]
    if set(flags) & _ENDS:
        kind, read = "help", {"type": "flag"}
    elif not rest:
        kind, read = ("switch" if negatives else "flag"), {"type": "flag"}
    else:
        kind, read = "value", _type(name, rest, told, asked)
    return {
        "name": name,
        "flags": flags,
        "dest": name.lstrip("-").replace("-", "_"),
        "kind": kind,
        **read,
        "negatives": negatives,
        "group": group,
        "deprecated": "deprecated" in told.lower(),
        "help": told,
    }


def _negatives(flags: list[str]) -> list[str]:
    """`--no-x` of an option that has `--x` too, and the short form that stands before it."""
    negative = [flag for flag in flags if flag.startswith("--no-")]
    if not negative or not any(flag.startswith("--") and flag not in negative for flag in flags):
        return []
    return [flag for flag in flags if flag in negative or flag.startswith("-n")]


def _type(name: str, metavar: str, told: str, asked: _Asked) -> dict[str, Any]:
    if _TWO.fullmatch(metavar):
        return {"type": "number" if not asked.takes(name, _NO_WORD, _NO_WORD) else "text", "nargs": 2}
    if asked.takes(name, _NO_WORD):
        return {"type": "text"}
    found = _CHOICES.search(metavar) or _ALLOWED.search(told)
    words = re.split(r"[,|]\s*", found[1].strip()) if found else []
    words += [word for word in re.findall(r"- ([\w+]+)(?: \(default\))?:", told) if word not in words]
    if all(word.isdigit() for word in words):
        return {"type": _plain_type(name, metavar, asked)}
    taken = [word for word in words if asked.takes(name, word)]
    if len(taken) > 1:
        more = [word for word in _OTHER_WORDS if word not in taken and asked.takes(name, word)]
        return {"type": "text", "choices": taken + more}
    return {"type": _plain_type(name, metavar, asked)}


def _plain_type(name: str, metavar: str, asked: _Asked) -> str:
    """The type of an option that refuses words: JSON, a number, or what only the program can judge."""
    if ":" not in metavar and asked.takes(name, '{"a": 1}'):
        return "json"
    if not _NUMBER.fullmatch(metavar) or not asked.takes(name, "1"):
        return "text"
    return "number-or-auto" if asked.takes(name, "auto") else "number"
