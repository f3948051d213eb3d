"""How an answer is made: the fields of a request that a user sets, each with its range. Pure."""

from __future__ import annotations

import difflib

from llm_atc.errors import UsageError
from llm_atc.plan.key_values import WANTS, Misfit, check, from_text
from llm_atc.plan.keys import KEYS, Key

Number = int | float

# By a request's own names; `serve` has the same as its defaults.
PARAMETERS = {key.name.partition(".")[2]: key for key in KEYS if key.section == "generation"}


def find_parameter(name: str) -> str:
    """The parameter of that name, with dashes or underscores. Raises UsageError with the nearest."""
    plain = name.removeprefix("--").replace("-", "_")
    if plain in PARAMETERS:
        return plain
    near = difflib.get_close_matches(plain, PARAMETERS, n=1)
    raise UsageError(
        f"No parameter is called {name!r}." + (f" Did you mean {near[0]}?" if near else ""),
        hint="/params   lists them",
    )


def read_parameter(name: str, text: str) -> tuple[str, Number]:
    """The parameter's own name, and its value. Raises UsageError for either."""
    known = find_parameter(name)
    try:
        value = from_text(PARAMETERS[known], text)
        check(PARAMETERS[known], value)
    except Misfit as error:
        raise UsageError(f"{known} {error}.", hint=f"/params {known} {example(PARAMETERS[known])}") from None
    if not isinstance(value, int | float):
        raise UsageError(f"{known} wants {range_of(known)}.", hint=f"/params {known} none")
    return known, value


def check_parameter(name: str, value: Number) -> Number:
    """The value of a flag, when it lies in the range. Raises UsageError otherwise."""
    key = PARAMETERS[name]
    try:
        check(key, value)
    except Misfit as error:
        raise UsageError(f"{key.flag} {error}.", hint=f"{key.flag} {example(key)}") from None
    return value


def example(key: Key) -> str:
    """A value that the parameter takes."""
    return key.example or f"{key.low if key.low is not None else 1:g}"


def range_of(name: str) -> str:
    """What a parameter takes, in words."""
    key = PARAMETERS[name]
    bounds = [
        f"{word} {bound:g}" for word, bound in (("from", key.low), ("to", key.high)) if bound is not None
    ]
    return " ".join([WANTS[key.kind], *bounds])
