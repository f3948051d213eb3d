"""The JSON schema of a configuration file, made from the table of settings."""

from __future__ import annotations

import json
from typing import Any

from llm_atc.plan.keys import KEYS, Key, Kind

FILE = "schema.json"  # beside this module, so that an editor finds it
_TEXT: dict[str, Any] = {"type": "string"}
_NAME: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
_VARIABLE: dict[str, Any] = {"type": "string", "pattern": "^[A-Z_][A-Z0-9_]*$"}
_TYPES: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: ("string", "number"),
    Kind.INTEGER: ("integer",),
    Kind.NUMBER: ("number",),
    Kind.SWITCH: ("boolean",),
    Kind.SIZE: ("integer", "string"),
    Kind.ADDRESS: ("integer", "string"),
    Kind.TEXTS: ("string", "array"),
    Kind.PAIRS: ("object", "array", "string"),
    Kind.WORDS: ("object", "array", "string"),
}


def schema() -> dict[str, Any]:
    """The schema, in draft 7, which editors read."""
    properties: dict[str, Any] = {}
    for key in KEYS:
        if "." not in key.name:
            properties[key.name] = _property(key)
            continue
        section = properties.setdefault(key.section, _section(key.section))
        section["properties"][key.name.partition(".")[2]] = _property(key)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "llm-atc: a service file, or the user's own configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _section(name: str) -> dict[str, Any]:
    short = ["string"] if any(key.name == f"{name}.name" for key in KEYS) else []
    return {"type": ["object", "null", *short], "additionalProperties": False, "properties": {}}


def _property(key: Key) -> dict[str, Any]:
    types = [*_TYPES[key.kind], *(() if key.default is not None else ("null",))]
    told = ", ".join([*(flag.partition("/")[0].strip() for flag in key.flags[:1]), key.environment])
    made: dict[str, Any] = {
        "description": f"{key.help} ({told})",
        "type": types if len(types) > 1 else types[0],
    }
    if key.default is not None:
        made["default"] = key.default
    if key.low is not None:
        made["minimum"] = key.low
    if key.high is not None:
        made["maximum"] = key.high
    if key.choices:
        made["enum"] = [*key.choices, *((None,) if key.default is None else ())]
    return made | _parts(key)


def _parts(key: Key) -> dict[str, Any]:
    """What stands within a list, a mapping, or a text."""
    if key.kind is Kind.PAIRS and key.secret:
        return {"items": _NAME, "additionalProperties": {"type": "null"}, "pattern": _NAME["pattern"]}
    if key.kind is Kind.PAIRS:
        values = {"type": ["string", "number", "boolean", "null"]}
        return {"items": _TEXT, "propertyNames": _NAME, "additionalProperties": values}
    if key.kind is Kind.TEXTS and key.secret:
        return {"items": _VARIABLE, "pattern": _VARIABLE["pattern"]}
    return {"items": _TEXT} if key.kind in (Kind.TEXTS, Kind.WORDS) else {}
