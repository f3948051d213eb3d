"""One setting of a YAML text changed, with every comment and the order of all else kept."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import yaml

from llm_atc.config.document import Entry, compose, entries
from llm_atc.config.file import read_text
from llm_atc.config.template import written
from llm_atc.errors import ConfigError
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.keys import Key, Value
from llm_atc.plan.layers import USER_CONFIG


def changed(text: str, key: Key, value: Value, file: str, options: OptionSets) -> str:
    """The text with the setting at this value.

    The result is read again: ConfigError for a value that the file cannot hold, and where the text is laid
    out in a way that cannot be changed without loss.
    """
    before = read_text(text, file, USER_CONFIG, options).values
    made = _changed(text, key, written(value), file)
    after = read_text(made, file, USER_CONFIG, options).values
    if {**before, key.name: after.get(key.name)} != after or key.name not in after:
        raise ConfigError(
            f"{file}: {key.name} cannot be set there without changing something else.",
            hint="llm-atc config edit",
        )
    return made


def _changed(text: str, key: Key, value: str, file: str) -> str:
    root = compose(text, file)
    top = {} if root is None else entries(root, file)
    section, _, name = key.name.rpartition(".")
    if not section:
        return _in_lines(text, top, name, value, first=0, indent="")
    holder = top.get(section)
    if holder is None:
        return f"{_ended(text)}{section}:\n  {name}: {value}\n"
    if not isinstance(holder.node, yaml.MappingNode):
        if not holder.empty or holder.node.start_mark.index != holder.node.end_mark.index:
            raise ConfigError(f"{holder.place}: {section} holds no settings yet.", hint="llm-atc config edit")
        return _in_lines(text, {}, name, value, first=holder.key.start_mark.line + 1, indent="  ")
    held = entries(holder.node, file)
    if holder.node.flow_style:
        return _in_braces(text, holder, held, name, value)
    indent = " " * next(iter(held.values())).key.start_mark.column
    return _in_lines(text, held, name, value, first=holder.key.start_mark.line + 1, indent=indent)


def _in_braces(text: str, holder: Entry, held: dict[str, Entry], name: str, value: str) -> str:
    if (old := _same(held, name)) is not None:
        return _replaced(text, old, value)
    end = holder.node.end_mark.index - 1
    return f"{text[:end]}{', ' if held else ''}{name}: {value}{text[end:]}"


def _in_lines(text: str, held: dict[str, Entry], name: str, value: str, *, first: int, indent: str) -> str:
    """In place of the value that is there, of a comment that stands for it, or below what is there."""
    if (old := _same(held, name)) is not None:
        return _replaced(text, old, value)
    lines = _ended(text).splitlines(keepends=True)
    last = _end_of_section(lines, first) if indent else len(lines)
    comment = re.compile(rf"[ \t]*#[ \t]?{re.escape(name)}:(?:[ \t].*)?\r?\n")
    ending = "\r\n" if "\r\n" in text else "\n"
    line = f"{indent}{name}: {value}{ending}"
    for number in range(first, last):
        if comment.fullmatch(lines[number]) and (indent or not lines[number][0].isspace()):
            return "".join([*lines[:number], line, *lines[number + 1 :]])
    below = max((_last_line(one.node) + 1 for one in held.values()), default=first) if indent else last
    return "".join([*lines[:below], line, *lines[below:]])


def _end_of_section(lines: list[str], first: int) -> int:
    """The line at which the next section begins."""
    for number in range(first, len(lines)):
        if lines[number][:1] not in ("#", " ", "\t", "\r", "\n"):
            return number
    return len(lines)


def _same(held: dict[str, Entry], name: str) -> Entry | None:
    return next((one for word, one in held.items() if word.replace("-", "_") == name), None)


def _replaced(text: str, old: Entry, value: str) -> str:
    start, end = old.node.start_mark.index, _last(old.node).end_mark.index
    if isinstance(old.node, yaml.ScalarNode | yaml.CollectionNode) and getattr(old.node, "flow_style", False):
        end = old.node.end_mark.index
    end = start + len(text[start:end].rstrip())
    gap = "" if text[start - 1 : start].isspace() else " "
    return f"{text[:start]}{gap}{value}{text[end:]}"


def _last(node: yaml.Node) -> yaml.Node:
    """The last value within a node: where a block ends, before the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    return node


def _last_line(node: yaml.Node) -> int:
    mark = _last(node).end_mark
    return int(mark.line - 1 if mark.column == 0 and mark.index > node.start_mark.index else mark.line)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def write(path: Path, text: str) -> None:
    """The whole text or the old one, whatever happens meanwhile; a link stays a link."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
