"""What the relay reads and writes in bodies: defaults that a request does not name, models, token counts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from llm_atc.relay.routes import Route

READ_BYTES = 8 * 2**20
TAIL_BYTES = 2048
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\\x00-\x1f]{1,200})"')
_USAGE = re.compile(rb'"((?:prompt|completion|input|output)_tokens)"\s*:\s*([0-9]{1,9})\b')
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
# Only these two mean the same on every route that generates; the others belong to chat and completions.
_EVERYWHERE = frozenset({"temperature", "top_p"})


def defaults_for(route: Route, defaults: Mapping[str, object]) -> dict[str, object]:
    """Those of the defaults that this route understands, under the names it has for them."""
    if route.limit_field is None:
        return {}
    own = route.label in ("/v1/chat/completions", "/v1/completions")
    chosen = {name: value for name, value in defaults.items() if own or name in _EVERYWHERE}
    if "max_tokens" in defaults:
        chosen[route.limit_field] = defaults["max_tokens"]
    return chosen


def with_defaults(body: bytes, defaults: Mapping[str, object]) -> bytes:
    """The body with each default that it does not name; as it is when it is no JSON object.

    The defaults are written behind what is there, so that not a byte of the rest changes. A field that is
    null counts as not named: the engines read the last of two fields of one name.
    """
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError):
        return body
    if not isinstance(found, dict):
        return body
    missing = {name: value for name, value in defaults.items() if not _named(found, name)}
    if not missing:
        return body
    start = body.rstrip()[:-1]
    return start + (b"," if found else b"") + json.dumps(missing).encode()[1:-1] + b"}"


def _named(found: Mapping[str, object], name: str) -> bool:
    names = _LIMITS if name in _LIMITS else (name,)
    return any(found.get(one) is not None for one in names)


def model_of(body: bytes) -> str | None:
    """The model that a request asks for, looked up at the body's two ends; None when it is not there."""
    match = _MODEL.search(body, 0, 4096)
    if match is None and len(body) > 4096:
        match = _MODEL.search(body[-4096:])
    return match[1].decode(errors="replace") if match else None


def usage_of(tail: bytes) -> tuple[int, int]:
    """Tokens read and written, as the end of an answer tells them; zeros when it does not."""
    found = {name: int(number) for name, number in _USAGE.findall(tail)}
    read = found.get(b"prompt_tokens", found.get(b"input_tokens", 0))
    return read, found.get(b"completion_tokens", found.get(b"output_tokens", 0))
