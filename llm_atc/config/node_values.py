"""What stands in a file behind a setting's name, as the value that the setting holds."""

from __future__ import annotations

import re

import yaml

from llm_atc.access import looks_secret
from llm_atc.config.document import BOOLEAN, INTEGER, NULL, NUMBER, STRING, Entry, entries, kind_of, plain
from llm_atc.errors import ConfigError
from llm_atc.plan.key_values import WANTS, Misfit, check
from llm_atc.plan.keys import Key, Kind, Value

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAGS = {
    Kind.TEXT: (STRING, INTEGER, NUMBER),  # a revision of digits is the text that stands there
    Kind.INTEGER: (INTEGER,),
    Kind.NUMBER: (INTEGER, NUMBER),
    Kind.SWITCH: (BOOLEAN,),
    Kind.SIZE: (INTEGER, STRING),
    Kind.ADDRESS: (INTEGER, STRING),
}


def value_of(key: Key, entry: Entry) -> Value:
    """The value, its type and bounds checked. ConfigError names line and column."""
    value = None if entry.empty else _read(key, entry)
    try:
        check(key, value)
    except Misfit as error:
        raise entry.wrong(f"{key.name}: {error}.", node=entry.node) from None
    return value


def _read(key: Key, entry: Entry) -> Value:
    match key.kind:
        case Kind.PAIRS:
            return _names(entry) if key.secret else _pairs(entry)
        case Kind.TEXTS:
            return _texts(key, entry)
        case Kind.WORDS:
            return _words(key, entry)
        case _:
            return _scalar(key, entry)


def _scalar(key: Key, entry: Entry) -> Value:
    node = entry.node
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _TAGS[key.kind]:
        quotes = key.kind is Kind.TEXT and isinstance(node, yaml.ScalarNode)
        raise entry.wrong(
            f"{key.name} wants {WANTS[key.kind]}, and this is {kind_of(node)}.",
            node=node,
            hint=f'{entry.name}: "{node.value}"' if quotes else None,
        )
    value: Value = node.value if key.kind in (Kind.TEXT, Kind.ADDRESS) else plain(node)
    if key.secret:
        return _by_name(entry, node)
    return value


def _texts(key: Key, entry: Entry) -> Value:
    nodes = entry.node.value if isinstance(entry.node, yaml.SequenceNode) else [entry.node]
    for node in nodes:
        if not isinstance(node, yaml.ScalarNode) or node.tag != STRING:
            raise entry.wrong(f"{key.name} wants {WANTS[key.kind]}, and this is {kind_of(node)}.", node=node)
    return [_by_name(entry, node) if key.secret else node.value for node in nodes]


def _by_name(entry: Entry, node: yaml.Node) -> str:
    """The name of the variable that holds a secret. The value itself has no place in a file."""
    name = str(node.value)
    if not _VARIABLE.fullmatch(name):
        raise entry.wrong(
            f"{entry.name} holds a secret, which does not belong into a file. Write the name of a variable "
            "in capitals, and give that variable the value, in your environment or in a file called .env.",
            node=node,
            hint=f"{entry.name}: MY_{entry.name.upper().replace('-', '_')}",
        )
    return name


def _names(entry: Entry) -> Value:
    """Secrets by name: a list of names, or names with nothing behind them."""
    node = entry.node
    if isinstance(node, yaml.MappingNode):
        for name, one in entries(node, entry.file).items():
            if not one.empty:
                raise _secret_value(one, name)
        names = [(name, one.key) for name, one in entries(node, entry.file).items()]
    else:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        names = [(str(one.value), one) for one in nodes]
    for name, one_node in names:
        if "=" in name:
            raise _secret_value(entry, name.partition("=")[0], one_node)
        if not _NAME.fullmatch(name) or not isinstance(one_node, yaml.ScalarNode):
            raise entry.wrong(f"{entry.name} wants the names of variables.", node=one_node)
    return [name for name, _ in names]


def _secret_value(entry: Entry, name: str, node: yaml.Node | None = None) -> ConfigError:
    return entry.wrong(
        f"{name}: a secret's value does not belong into a file. Write its name alone, and give it the value "
        "in your environment or in a file called .env.",
        node=node,
        hint=f"secrets: [{name}]",
    )


def _pairs(entry: Entry) -> Value:
    """Names with values: a mapping, in which none asks the environment, or texts as the flag takes them."""
    node = entry.node
    if not isinstance(node, yaml.MappingNode):
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for one in nodes:
            if not isinstance(one, yaml.ScalarNode):
                raise entry.wrong(f"{entry.name} wants {WANTS[Kind.PAIRS]}.", node=one)
            name, _, value = one.value.partition("=")
            _check_open(entry, name, value, one)
        return [one.value for one in nodes]
    pairs: dict[str, Value] = {}
    for name, pair in entries(node, entry.file).items():
        if not isinstance(pair.node, yaml.ScalarNode):
            raise pair.wrong(f"{name} wants one value, and this is {kind_of(pair.node)}.", node=pair.node)
        pairs[name] = None if pair.empty else pair.node.value
        _check_open(pair, name, "" if pair.empty else pair.node.value, pair.key)
    return pairs


def _check_open(entry: Entry, name: str, value: str, node: yaml.Node) -> None:
    if value and looks_secret(name):
        raise _secret_value(entry, name, node)


def _words(key: Key, entry: Entry) -> Value:
    node = entry.node
    if isinstance(node, yaml.MappingNode):
        return {name: plain(one.node) for name, one in entries(node, entry.file).items()}
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for one in nodes:
        if not isinstance(one, yaml.ScalarNode) or one.tag == NULL:
            raise entry.wrong(f"{key.name} wants {WANTS[key.kind]}, and this is {kind_of(one)}.", node=one)
    return [one.value for one in nodes]
