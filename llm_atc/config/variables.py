"""The layers that variables are: the environment's, and those of a file called `.env`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_atc.errors import VariableError
from llm_atc.plan.key_values import Misfit, from_text, nearest
from llm_atc.plan.keys import KEYS, Key, Value
from llm_atc.plan.layers import DOTENV, ENVIRONMENT, Layer

PREFIX = "LLM_ATC_"
BY_VARIABLE: Mapping[str, Key] = {key.environment: key for key in KEYS}
# What is no setting of a launch, and is read from the environment alone.
OTHERS = ("LLM_ATC_HOME", "LLM_ATC_CONFIG", "LLM_ATC_DEBUG")
_SHORT = [name.removeprefix(PREFIX) for name in (*BY_VARIABLE, *OTHERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dotenv:
    """What a `.env` says: the variables, the line of each, and what is to be told of it."""

    values: Mapping[str, str]
    lines: Mapping[str, int]
    notes: tuple[str, ...] = ()


def read_dotenv(path: Path) -> Dotenv:
    """The file's variables as they are written, nothing put in for `$NAME`; empty when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Dotenv(values={}, lines={})
    except (OSError, UnicodeDecodeError) as error:
        return Dotenv(values={}, lines={}, notes=(f"{path.name} cannot be read: {error}",))
    from io import StringIO

    from dotenv.parser import parse_stream

    values, lines, notes = {}, {}, []
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            notes.append(f"{path.name}:{binding.original.line} is not NAME=VALUE, and left out.")
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
            lines[binding.key] = binding.original.line
    return Dotenv(values=values, lines=lines, notes=tuple(notes))


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """What the environment says. Raises VariableError naming the variable."""
    return _layer(ENVIRONMENT, environ, {})


def dotenv_layer(dotenv: Dotenv) -> Layer:
    """What `.env` says. Raises VariableError naming the line and the variable."""
    return _layer(DOTENV, dotenv.values, {name: f".env:{line} " for name, line in dotenv.lines.items()})


def _layer(source: str, variables: Mapping[str, str], prefixes: Mapping[str, str]) -> Layer:
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for name in variables.keys() & BY_VARIABLE.keys():
        key, text = BY_VARIABLE[name], variables[name]
        if not text.strip():
            continue  # a variable with nothing in it says nothing
        place = f"{prefixes.get(name, '')}{name}"
        try:
            values[key.name] = from_text(key, text)
        except Misfit as error:
            raise VariableError(f"{place}: {error}.", hint=_hint(key)) from None
        places[key.name] = place
    return Layer(source=source, values=values, places=places)


def _hint(key: Key) -> str | None:
    value = key.example or (key.default if key.default not in (None, False) else key.low)
    return None if value is None else f"export {key.environment}={value}"


def strangers(variables: Mapping[str, str], file: str = "") -> tuple[str, ...]:
    """A sentence for each variable that is almost one of llm-atc's, or is not read where it stands."""
    told = []
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in BY_VARIABLE:
            continue
        if name in OTHERS:
            if file:
                told.append(f"{name} in {file} is not read: set it in the environment.")
        elif close := nearest(name.removeprefix(PREFIX), _SHORT):
            told.append(
                f"{name} is no variable of llm-atc, and changes nothing: did you mean {PREFIX}{close}?"
            )
    return tuple(told)
