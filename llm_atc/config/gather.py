"""Every layer that a launch is told by, from the command line down to the user's own file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_atc.config.variables import dotenv_layer, environment_layer, read_dotenv, strangers
from llm_atc.errors import SecretMissing
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.keys import Values
from llm_atc.plan.layers import FLAG, SERVICE_FILE, USER_CONFIG, Layer, Settled, Sourced, settle

DOTENV_FILE = ".env"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All settings with their sources; `environ` is the environment, with what `.env` adds to it; `notes` are
    what the user is to be told."""

    settled: Settled
    environ: Mapping[str, str]
    notes: tuple[str, ...] = ()


def gather(
    typed: Values,
    *,
    service_file: Path | None,
    user_config: Path,
    folder: Path,
    environ: Mapping[str, str],
    options: OptionSets,
) -> Gathered:
    """Settle what was typed, the service file, the environment, `.env` in `folder`, and the user's own file.

    Raises ConfigError for what cannot be read in one of them.
    """
    dotenv = read_dotenv(folder / DOTENV_FILE)
    layers = [Layer(source=FLAG, values=typed)]
    if service_file is not None:
        layers.append(_file(service_file, SERVICE_FILE, options))
    layers += [environment_layer(environ), dotenv_layer(dotenv)]
    if user_config.exists():
        layers.append(_file(user_config, USER_CONFIG, options))
    return Gathered(
        settled=settle(layers),
        environ={**dotenv.values, **environ},
        notes=(*strangers(environ), *dotenv.notes, *strangers(dotenv.values, DOTENV_FILE)),
    )


def _file(path: Path, source: str, options: OptionSets) -> Layer:
    from llm_atc.config.file import read_file

    return read_file(path, source, options)


def check_named(keys: Sourced, environ: Mapping[str, str]) -> None:
    """Whether the variables that a file names for API keys are there: never may the name become the key."""
    names = keys.value if isinstance(keys.value, list) else []
    absent = [name for name in names if name not in environ]
    if keys.source in (SERVICE_FILE, USER_CONFIG) and absent:
        raise SecretMissing(
            f"server.api_key ({keys.place}) names {absent[0]}, and your environment has no {absent[0]}.",
            hint=f"export {absent[0]}=…",
        )
