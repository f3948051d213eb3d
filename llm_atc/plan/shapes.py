"""The shape that a JSON value must have, and reading a value into it as pydantic reads JSON.

vLLM validates its configurations with pydantic in its lax mode: "3" is read as 3 where a number is wanted,
1 as true where true or false is. Source: docs.pydantic.dev, concepts/conversion_table.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
_MISSING = object()


class ShapeError(ValueError):
    """A value has another shape; the message says where and what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of JSON value: a number within bounds, one of some words, a list, an object with fields…"""

    kind: str
    name: str = ""
    values: tuple[Any, ...] = ()
    of: tuple[Shape, ...] = ()
    keys: Shape | None = None
    fields: Mapping[str, Shape] = field(default_factory=dict)
    extra: str = "forbid"
    required: bool = False
    default: Any = None
    bounds: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> Shape:
        """A shape as a data file writes it."""
        kind = spec["is"]
        inner = spec.get("of", ())
        parts = (inner,) if isinstance(inner, Mapping) else inner
        if kind == "list":
            parts = (spec["items"],)
        if kind == "dict":
            parts = (spec["values"],)
        known = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
        return cls(
            kind=kind,
            name=spec.get("name", ""),
            values=tuple(spec["values"]) if kind in ("literal", "enum", "name") else (),
            of=tuple(cls.read(part) for part in parts),
            keys=cls.read(spec["keys"]) if "keys" in spec else None,
            fields={name: cls.read(one) for name, one in spec.get("fields", {}).items()},
            extra=spec.get("extra", "forbid"),
            required=spec.get("required", False),
            default=spec.get("default"),
            bounds={bound: spec[bound] for bound in known if bound in spec},
        )


def fit(value: Any, shape: Shape, where: str = "") -> Any:
    """The value as this shape holds it: numbers from text, names in their own case. Raises ShapeError."""
    return _READERS[shape.kind](value, shape, where)


def _wanted(where: str, what: str, value: Any) -> ShapeError:
    return ShapeError(f"{where or 'the value'}: {what} is wanted, not {value!r}")


def _any(value: Any, shape: Shape, where: str) -> Any:
    return value


def _never(value: Any, shape: Shape, where: str) -> Any:
    raise _wanted(where, "a value that JSON cannot hold", value)


def _null(value: Any, shape: Shape, where: str) -> None:
    if value is not None:
        raise _wanted(where, "null", value)


def _str(value: Any, shape: Shape, where: str) -> str:
    if not isinstance(value, str):
        raise _wanted(where, "text", value)
    _check_bounds(len(value), shape, where)
    pattern = shape.bounds.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        raise _wanted(where, f"text like {pattern}", value)
    return value


def _int(value: Any, shape: Shape, where: str) -> int:
    try:
        if isinstance(value, str):
            number = float(value) if "." in value else int(value)
        else:
            number = value if isinstance(value, bool | int | float) else float("nan")
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise _wanted(where, "a whole number", value) from None
    _check_bounds(int(number), shape, where)
    return int(number)


def _float(value: Any, shape: Shape, where: str) -> float:
    if not isinstance(value, str | bool | int | float):
        raise _wanted(where, "a number", value)
    try:
        number = float(value)
    except ValueError:
        raise _wanted(where, "a number", value) from None
    _check_bounds(number, shape, where)
    return number


def _bool(value: Any, shape: Shape, where: str) -> bool:
    word = value.lower() if isinstance(value, str) else value
    if isinstance(word, str) and word in _TRUE | _FALSE:
        return word in _TRUE
    if isinstance(word, bool | int | float) and word in (0, 1):
        return bool(word)
    raise _wanted(where, "true or false", value)


def _literal(value: Any, shape: Shape, where: str) -> Any:
    for known in shape.values:
        whole = isinstance(known, int) and isinstance(value, float)
        if known == value and (whole or type(known) is type(value)):
            return known
    raise _none_of(value, shape, where)


def _enum(value: Any, shape: Shape, where: str) -> Any:
    """A member by its value, where 3.0 is 3."""
    for known in shape.values:
        if known == value:
            return known
    raise _none_of(value, shape, where)


def _name(value: Any, shape: Shape, where: str) -> Any:
    if isinstance(value, str) and value.upper() in shape.values:
        return value.upper()
    raise _none_of(value, shape, where)


def _none_of(value: Any, shape: Shape, where: str) -> ShapeError:
    known = [str(one) for one in shape.values]
    close = difflib.get_close_matches(str(value), known, n=1)
    told = f"did you mean {close[0]}?" if close else f"one of {', '.join(known)}"
    return ShapeError(f"{where or 'the value'}: there is no {value!r}; {told}")


def _lower(value: Any, shape: Shape, where: str) -> Any:
    if isinstance(value, str):
        value = value.lower().replace("-", "_")
    return fit(value, shape.of[0], where)


def _words(value: Any, shape: Shape, where: str) -> list[str]:
    if isinstance(value, str):
        value = value.replace(" ", "").split(",")
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _wanted(where, "words", value)
    return value


def _list(value: Any, shape: Shape, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wanted(where, "a list", value)
    _check_bounds(len(value), shape, where)
    return [fit(one, shape.of[0], f"{where}[{i}]") for i, one in enumerate(value)]


def _dict(value: Any, shape: Shape, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wanted(where, "an object", value)
    _check_bounds(len(value), shape, where)
    if shape.keys is not None:
        for key in value:
            fit(key, shape.keys, where)
    return {key: fit(one, shape.of[0], f"{where}.{key}") for key, one in value.items()}


def _union(value: Any, shape: Shape, where: str) -> Any:
    """Of several shapes the one that holds the value unchanged goes first, as in pydantic's smart mode."""
    found, errors = [], []
    for part in shape.of:
        try:
            found.append(fit(value, part, where))
        except ShapeError as error:
            errors.append(error)
    same = next((one for one in found if type(one) is type(value) and one == value), _MISSING)
    if same is not _MISSING:
        return same
    if found:
        return found[0]
    raise errors[0]


def _object(value: Any, shape: Shape, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wanted(where, "an object in braces", value)
    read = {}
    for key, one in value.items():
        path = f"{where}.{key}" if where else key
        if key in shape.fields:
            read[key] = fit(one, shape.fields[key], path)
        elif shape.extra == "forbid":
            close = difflib.get_close_matches(key, shape.fields, n=1)
            raise ShapeError(
                f"{shape.name} has no field {path!r}" + (f"; did you mean {close[0]}?" if close else "")
            )
        else:
            read[key] = one
    missing = [name for name, one in shape.fields.items() if one.required and name not in value]
    if missing:
        raise ShapeError(f"{where or shape.name}: {missing[0]} is missing")
    return read


def _check_bounds(number: float, shape: Shape, where: str) -> None:
    told = broken(number, shape.bounds)
    if told is not None:
        raise ShapeError(f"{where or 'the value'}: {number} is not {told}")


_TESTS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "ge": ("at least", lambda number, limit: number >= limit),
    "gt": ("more than", lambda number, limit: number > limit),
    "le": ("at most", lambda number, limit: number <= limit),
    "lt": ("less than", lambda number, limit: number < limit),
    "multiple_of": ("a multiple of", lambda number, limit: number % limit == 0),
    "min_length": ("at least", lambda number, limit: number >= limit),
    "max_length": ("at most", lambda number, limit: number <= limit),
}


def broken(number: float, bounds: Mapping[str, Any]) -> str | None:
    """The bound that a number breaks, in words; None when it keeps them all."""
    for bound, (words, holds) in _TESTS.items():
        if bound in bounds and not holds(number, bounds[bound]):
            return f"{words} {bounds[bound]}"
    return None


_READERS: Mapping[str, Callable[[Any, Shape, str], Any]] = {
    "any": _any,
    "never": _never,
    "null": _null,
    "str": _str,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "literal": _literal,
    "enum": _enum,
    "name": _name,
    "lower": _lower,
    "words": _words,
    "list": _list,
    "dict": _dict,
    "union": _union,
    "object": _object,
}
