"""Whether a value is one that a setting can hold, and what a setting's text means in a variable."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from llm_atc.plan.keys import Key, Kind, Value

WANTS = {
    Kind.TEXT: "a text",
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.SWITCH: "true or false",
    Kind.TEXTS: "a text or a list of texts",
    Kind.PAIRS: "names with their values",
    Kind.SIZE: "a whole number, or a text such as 32k",
    Kind.ADDRESS: "HOST:PORT or a port",
    Kind.WORDS: "options with their values, or a text of them",
}
NULL = ("null", "~")
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Misfit(ValueError):
    """A value that a setting does not take; the message says why, and follows the setting's name."""


def check(key: Key, value: Value) -> None:
    """Raise Misfit for a value out of the setting's bounds or choices, or none where one is needed."""
    if value is None:
        if key.default is not None:
            raise Misfit(f"is null, and wants {WANTS[key.kind]}")
        return
    if isinstance(value, int | float) and key.kind in (Kind.INTEGER, Kind.NUMBER):
        _check_bounds(key, value)
    if key.choices:
        for one in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            _check_choice(key, str(one))


def _check_bounds(key: Key, value: float) -> None:
    low, high = key.low, key.high
    if (low is None or value >= low) and (high is None or value <= high):
        return
    if low is not None and high is not None:
        raise Misfit(f"{value} is not between {low:g} and {high:g}")
    raise Misfit(f"{value} is less than {low:g}" if low is not None else f"{value} is more than {high:g}")


def _check_choice(key: Key, value: str) -> None:
    if value in key.choices:
        return
    close = nearest(value, key.choices)
    raise Misfit(
        f"{value!r} is none of {', '.join(key.choices)}" + (f": did you mean {close}?" if close else "")
    )


def from_text(key: Key, text: str) -> Value:
    """What a variable's text, or a word of `config set`, means for this setting. Raises Misfit.

    `null` is none; lists have commas between their parts; names with values are written as for the flag.
    """
    text = text.strip()
    value = None if text in NULL else _read(key, text)
    check(key, value)
    return value


def _read(key: Key, text: str) -> Value:
    match key.kind:
        case Kind.INTEGER | Kind.NUMBER | Kind.SWITCH:
            return _converted(key, text)
        case Kind.TEXTS:
            return [part.strip() for part in text.split(",") if part.strip()]
        case Kind.PAIRS:
            names = [part.strip() for part in text.split(",")]
            return names if all(map(_NAME.fullmatch, names)) else [text]
        case Kind.WORDS:
            return [text]
        case _:
            return int(text) if key.kind is Kind.SIZE and text.lstrip("-").isdigit() else text


def _converted(key: Key, text: str) -> Value:
    try:
        if key.kind is Kind.SWITCH:
            return _SWITCHES[text.lower()]
        return int(text) if key.kind is Kind.INTEGER else float(text)
    except (ValueError, KeyError):
        raise Misfit(f"{text!r} is not {WANTS[key.kind]}") from None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like this one; None when nothing is near."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return close[0] if close else None
