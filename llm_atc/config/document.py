"""A YAML text as names and nodes that know their line and column; what could hide a mistake is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from llm_atc.errors import ConfigError

STRING = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
INTEGER = "tag:yaml.org,2002:int"
NUMBER = "tag:yaml.org,2002:float"
BOOLEAN = "tag:yaml.org,2002:bool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name with what stands behind it. `file` is the file's name as messages have it."""

    name: str
    key: yaml.Node
    node: yaml.Node
    file: str

    @property
    def place(self) -> str:
        """Where the name stands: FILE:LINE:COLUMN."""
        return spot(self.key, self.file)

    @property
    def empty(self) -> bool:
        """Whether nothing stands behind the name, or `null`."""
        return self.node.tag == NULL

    @property
    def scalar(self) -> bool:
        """Whether one value stands behind the name, no list and no mapping."""
        return isinstance(self.node, yaml.ScalarNode)

    def wrong(self, message: str, *, hint: str | None = None, node: yaml.Node | None = None) -> ConfigError:
        """An error at this entry, or at a node within it."""
        return ConfigError(f"{spot(node or self.key, self.file)}: {message}", hint=hint)


def spot(node: yaml.Node, file: str) -> str:
    """FILE:LINE:COLUMN of a node, counted from 1."""
    return _at(node.start_mark, file)


def _at(mark: Any, file: str) -> str:
    return file if mark is None else f"{file}:{mark.line + 1}:{mark.column + 1}"


def compose(text: str, file: str) -> yaml.MappingNode | None:
    """The text's mapping; None for a text that holds nothing but comments.

    Raises ConfigError for what is no YAML, for several documents, for aliases, and for another thing than a
    mapping.
    """
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(
                    f"{_at(event.start_mark, file)}: an alias (*{event.anchor}) is not read here: write the "
                    "value itself."
                )
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        at = _at(error.problem_mark or error.context_mark, file)
        raise ConfigError(f"{at}: this is not YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: this is not YAML: {' '.join(str(error).split())}.") from None
    if root is None or root.tag == NULL:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{spot(root, file)}: the file holds sections with settings, and this is none.",
            hint="model:\n  name: Qwen/Qwen3-0.6B",
        )
    return root


def entries(node: yaml.MappingNode, file: str) -> dict[str, Entry]:
    """What a mapping holds, by name. ConfigError for a name that is no text, or stands there twice."""
    found: dict[str, Entry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{spot(key, file)}: a name is wanted here.")
        entry = Entry(name=key.value, key=key, node=value, file=file)
        twin = next((one for one in found if one.replace("-", "_") == entry.name.replace("-", "_")), None)
        if twin is not None:
            line = found[twin].key.start_mark.line + 1
            raise entry.wrong(f"{entry.name!r} stands here twice: before in line {line}.")
        found[entry.name] = entry
    return found


def plain(node: yaml.Node) -> Any:
    """The node's value: text, number, truth, None, list or mapping, and nothing else."""
    if isinstance(node, yaml.ScalarNode) and node.tag not in (NULL, INTEGER, NUMBER, BOOLEAN):
        return node.value  # dates too are the text that stands there
    if isinstance(node, yaml.SequenceNode):
        return [plain(one) for one in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(plain(key)): plain(value) for key, value in node.value}
    return yaml.SafeLoader("").construct_object(node)


def kind_of(node: yaml.Node) -> str:
    """What a node holds, in words."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    names = {NULL: "nothing", INTEGER: "the number", NUMBER: "the number", BOOLEAN: "the truth value"}
    word = names.get(node.tag, "the text")
    return word if node.tag == NULL else f"{word} {node.value}"
