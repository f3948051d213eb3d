"""Settings as they may be shown: no secret's value among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llm_atc.access import looks_secret
from llm_atc.plan.keys import BY_NAME, Key, Kind
from llm_atc.plan.layers import SERVICE_FILE, USER_CONFIG, Sourced

HIDDEN = "***"
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_FLAGGED = re.compile(r"(--(?:api[-_]key|hf[-_]token)(?:[ =]+))(\S+)")


def shown(name: str, one: Sourced) -> Any:
    """The setting's value, with what is secret in it hidden."""
    key = BY_NAME[name]
    if key.secret and one.source not in (SERVICE_FILE, USER_CONFIG):  # files hold names alone
        return _names_alone(key, one.value)
    return _clean(one.value)


def _names_alone(key: Key, value: Any) -> Any:
    if not isinstance(value, list):
        return None if value is None else HIDDEN
    if key.kind is not Kind.PAIRS:
        return [HIDDEN for _ in value]
    return [f"{text.partition('=')[0]}={HIDDEN}" if "=" in text else text for text in map(str, value)]


def _clean(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _clean(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if not isinstance(value, str):
        return value
    if looks_secret(name.replace("-", "_")):
        return HIDDEN
    for found in _ASSIGNED.finditer(value):
        if looks_secret(found[1]):
            return f"{value[: found.end(1)]}={HIDDEN}"  # where the secret ends is for a shell to say
    return _FLAGGED.sub(rf"\1{HIDDEN}", value)
