"""From the text of an option to its value, by the rules of the pinned engines' own parsers, and back.

Sources: vllm/utils/argparse_utils.py and vllm/engine/arg_utils.py of the pinned version; common/arg.cpp of
llama.cpp.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping

from llm_atc.plan.config_rules import check_config
from llm_atc.plan.options import Json, Option
from llm_atc.plan.shapes import Shape, ShapeError, fit

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_BARE_SIZE = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')
_BRACES = re.compile(r"(?s)^\s*{.*}\s*$")
_POWERS = "kmgt"
NONE_WORDS = ("", "None")


class ValueRefused(ValueError):
    """A text that the engine would not take for this option; the message says why."""


def convert(text: str, option: Option, configs: Mapping[str, Shape]) -> Json:
    """The value that the engine's parser makes of this text. Raises ValueRefused."""
    if option.optional and text in NONE_WORDS:
        value: Json = None
    elif option.type == "config":
        value = read_config(text, option, configs)
    else:
        value = _CONVERTERS[option.type](text)
    if option.choices is not None and value not in option.choices:
        raise ValueRefused(_no_choice(text, option.choices))
    return value


def read_size(text: str) -> int:
    """A whole number with a suffix as vLLM reads it: `k m g t` are powers of 1000, `K M G T` of 1024.

    A fraction goes with a small letter only. Raises ValueRefused.
    """
    text = text.strip()
    found = _SIZE.fullmatch(text)
    if found is None:
        return _whole(text, " with or without a suffix such as k or M")
    number, suffix = found.groups()
    power = _POWERS.index(suffix.lower()) + 1
    if suffix.islower():
        return int(float(number) * 1000**power)
    if "." in number:
        raise ValueRefused(f"{text!r} is a fraction with a suffix of 1024: write {text.lower()} instead")
    return int(number) * int(1024**power)


def _whole(text: str, more: str = "") -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueRefused(f"{text!r} is not a whole number{more}") from None


def _size_or_auto(text: str) -> int:
    word = text.strip().lower()
    return -1 if word in ("-1", "auto") else read_size(text)


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueRefused(f"{text!r} is not a number") from None


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return _fraction(text)


def _number_or_auto(text: str) -> Json:
    return text if text in ("auto", "all") else _number(text)


def read_json(text: str) -> Json:
    """JSON, whatever it holds. Raises ValueRefused."""
    try:
        read: Json = json.loads(text)
    except ValueError as error:
        raise ValueRefused(f"{text!r} is not JSON ({error})") from None
    return read


def _json_or_text(text: str) -> Json:
    return read_json(text) if _BRACES.match(text) else text


def _device_ids(text: str) -> Json:
    parts = (part.strip() for part in text.split(","))
    return [int(part) if part.isdigit() else part for part in parts]


_CONVERTERS: Mapping[str, Callable[[str], Json]] = {
    "text": str,
    "int": _whole,
    "float": _fraction,
    "number": _number,
    "number-or-auto": _number_or_auto,
    "size": read_size,
    "size-or-auto": _size_or_auto,
    "json": read_json,
    "json-or-text": _json_or_text,
    "lower": lambda text: text.lower().replace("-", "_"),
    "device-ids": _device_ids,
}


def read_config(text: str, option: Option, configs: Mapping[str, Shape]) -> Json:
    """A configuration from JSON, its fields and their types checked. Raises ValueRefused."""
    parts = _QUOTED.split(text)
    parts[::2] = [_BARE_SIZE.sub(lambda found: str(read_size(found[0])), part) for part in parts[::2]]
    shape = configs[option.config or ""]
    try:
        read: Json = fit(read_json("".join(parts)), shape)
        check_config(shape, read)
    except ShapeError as error:
        raise ValueRefused(str(error)) from None
    return read


def _no_choice(text: str, choices: tuple[Json, ...]) -> str:
    known = [str(choice) for choice in choices]
    close = difflib.get_close_matches(text, known, n=1)
    return f"{text!r} is none of {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")


def text_of(value: Json, option: Option) -> str:
    """What to type for this value: `convert(text_of(value), option) == value`."""
    if value is None:
        return "null" if option.type == "json" and not option.optional else "None"
    if isinstance(value, str) and option.type != "json":
        return value
    if option.type == "device-ids" and isinstance(value, list):
        return ",".join(str(one) for one in value)
    if option.type in ("json", "json-or-text", "config") or isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
