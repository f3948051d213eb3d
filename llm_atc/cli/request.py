"""Every setting of `serve` as a flag: declared by the table of keys, for each command that takes them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from llm_atc.errors import UsageError
from llm_atc.plan.asked import Asked, read_request
from llm_atc.plan.keys import KEYS, Key, Kind, Value, Values
from llm_atc.plan.layers import FLAG, Layer, settle

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.NUMBER: float,
    Kind.SWITCH: bool,
    Kind.TEXTS: list[str],
    Kind.PAIRS: list[str],
    Kind.SIZE: str,
    Kind.WORDS: list[str],
}


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every flag of `serve` in the place of its parameter `typed: Values`.

    A setting that was not typed is absent from `typed`.
    """
    flags = [key for key in KEYS if key.flags]

    def with_flags(**words: Any) -> None:
        typed = {key.name: words.pop(key.parameter) for key in flags}
        command(typed={name: value for name, value in typed.items() if value not in (None, [])}, **words)

    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(command, eval_str=True).parameters.values()
    ]
    place = next(index for index, one in enumerate(own) if one.name == "typed")
    parameters = [*own[:place], *map(_parameter, flags), *own[place + 1 :]]
    with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
    with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {}
    return with_flags


def _parameter(key: Key) -> inspect.Parameter:
    option = typer.Option(*key.flags, help=f"{key.help} [{key.name}]", show_default=False)
    return inspect.Parameter(
        key.parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_TYPES[key.kind] | None, option],
    )


def with_model(typed: Values, positional: str | None) -> Values:
    """What was typed, with the model that stood without a flag. UsageError when there are two."""
    named: Value = typed.get("model.name")
    if positional is not None and named not in (None, positional):
        raise UsageError("Say which model, once.", hint="llm-atc serve --name Qwen/Qwen3-0.6B …")
    return typed if positional is None else {**typed, "model.name": positional}


def ask(typed: Values, engine_args: tuple[str, ...] = ()) -> Asked:
    """What was typed, on top of every other layer, as a request; how it was read is told on stderr."""
    settled = settle([Layer(source=FLAG, values=typed)])
    asked = read_request(settled, os.environ, engine_args=engine_args)
    for note in asked.notes:
        typer.echo(f"· {note}", err=True)
    return asked
