"""Every setting of `serve` as a flag: declared by the table of keys, for each command that takes them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.files import with_files
from llm_atc.errors import AtcError, ConfigConflict, UsageError
from llm_atc.plan.asked import Asked, read_request
from llm_atc.plan.key_values import Misfit, check
from llm_atc.plan.keys import BY_NAME, KEYS, NOTHING, Key, Kind, Value, Values
from llm_atc.plan.layers import BUILT_IN, FLAG, Settled, Sourced, for_here

if TYPE_CHECKING:
    from llm_atc.config.gather import Gathered

# What this command was told, for the messages of errors that come later.
_settled: ContextVar[Settled] = ContextVar("settled", default={})  # noqa: B039  (nobody changes it)
_WORD = re.compile(r"--[a-z][-a-z_]*|[a-z_]+(?:\.[a-z_]+)+|envs|secrets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What stood on the command line: settings by key, and the service file of `--config`."""

    values: Values
    config: str | None = None


NOTHING_TYPED = Typed(values=NOTHING)

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.NUMBER: float,
    Kind.SWITCH: bool,
    Kind.TEXTS: list[str],
    Kind.PAIRS: list[str],
    Kind.SIZE: str,
    Kind.WORDS: list[str],
    Kind.ADDRESS: str,
}


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--config` and every flag of `serve` in the place of its parameter `typed: Typed`.

    A setting that was not typed is absent from `typed.values`.
    """
    flags = [key for key in KEYS if key.flags]

    def with_flags(**words: Any) -> None:
        typed = {key.name: words.pop(key.parameter) for key in flags}
        said = {name: value for name, value in typed.items() if value not in (None, [])}
        command(typed=Typed(values=said, config=words.pop("config")), **words)

    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(command, eval_str=True).parameters.values()
    ]
    place = next(index for index, one in enumerate(own) if one.name == "typed")
    parameters = [*own[:place], _config_file(), *map(_parameter, flags), *own[place + 1 :]]
    with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
    with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {}
    return with_flags


def _config_file() -> inspect.Parameter:
    option = typer.Option(
        "--config", metavar="FILE", help="A service file, which says what flags would.", show_default=False
    )
    return inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _parameter(key: Key) -> inspect.Parameter:
    option = typer.Option(*key.flags, help=f"{key.help} [{key.name}]", show_default=False)
    return inspect.Parameter(
        key.parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_TYPES[key.kind] | None, option],
    )


def with_model(typed: Typed, positional: str | None) -> Typed:
    """What was typed, with the model that stood without a flag. UsageError when there are two."""
    named: Value = typed.values.get("model.name")
    if positional is not None and named not in (None, positional):
        raise UsageError("Say which model, once.", hint="llm-atc serve --name Qwen/Qwen3-0.6B …")
    return typed if positional is None else replace(typed, values={**typed.values, "model.name": positional})


def ask(typed: Typed, engine_args: tuple[str, ...] = (), *, cloud: str | None = None) -> Asked:
    """What was typed, on top of every other layer, as a request; how it was read is told on stderr.

    `cloud` is where it is served when no layer says anything of that.
    """
    from llm_atc.config.gather import check_named

    gathered = gathered_with(typed)
    check_named(gathered.settled["server.api_key"], gathered.environ)
    place = gathered.settled["cloud.name"]
    said = {**gathered.settled, "cloud.name": replace(place, value=place.value or cloud)}
    settled, left_out = for_here(said)
    asked = read_request(settled, gathered.environ, engine_args=engine_args)
    for note in (*left_out, *asked.notes):
        typer.echo(f"· {note}", err=True)
    return replace(asked, request=with_files(asked.request))


def settled() -> Settled:
    """Every setting that this command was told, with its source; empty before `ask`."""
    return _settled.get()


def gathered_with(typed: Typed) -> Gathered:
    """Every setting with its source; what is odd about the layers is told on stderr.

    Raises UsageError for a flag's value out of bounds, ConfigError for what a file or a variable says.
    """
    from llm_atc.config.gather import gather
    from llm_atc.settings import Settings
    from llm_atc.store.engine_options import engine_options

    _check_flags(typed.values)
    settings = Settings.read(os.environ)
    gathered = gather(
        typed.values,
        service_file=Path(typed.config) if typed.config is not None else None,
        user_config=settings.existing_config(),
        folder=Path.cwd(),
        environ=settings.environ,
        options=engine_options,
    )
    _settled.set(gathered.settled)
    for note in gathered.notes:
        typer.echo(f"· {note}", err=True)
    return gathered


def _check_flags(typed: Values) -> None:
    for name, value in typed.items():
        key = BY_NAME[name]
        try:
            check(key, value)
        except Misfit as error:
            good = key.example or key.default or (key.choices or (key.low,))[0]
            raise UsageError(f"{key.flag} {error}.", hint=f"{key.flag} {good}") from None


def laid_at_its_source(error: AtcError) -> AtcError:
    """A mistake that is no flag's: what cannot be, with the file or the variable that says so.

    Once all layers are merged, messages name settings by their flags, whoever said them.
    """
    if not isinstance(error, UsageError):
        return error
    blamed = tuple(
        f"{key.name} stands in {one.place or one.source}"
        for key in KEYS
        if (one := _settled.get().get(key.name))
        and one.source not in (FLAG, BUILT_IN)
        and _named(key, one, error)
    )
    if not blamed:
        return error
    return ConfigConflict(f"{error.message} ({'; '.join(blamed)}.)", hint=error.hint, details=error.details)


def _named(key: Key, said: Sourced, error: AtcError) -> bool:
    """Whether the message speaks of this setting, or of an option that stands within it."""
    words = set(_WORD.findall(error.message))
    if words & {key.name, *(flag.strip() for flags in key.flags for flag in flags.split("/"))}:
        return True
    if any(repr(one) in error.message for one in _texts(said.value)):
        return True
    text = str(said.value).replace("_", "-")
    return key.kind is Kind.WORDS and any(word.strip("-") in text for word in words if word.startswith("--"))


def _texts(value: Value) -> list[str]:
    """The texts that a value is, which a message may quote."""
    many = value if isinstance(value, list) else [value]
    return [one for one in many if isinstance(one, str)]
