"""Where llm-atc keeps things and what its environment says, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_atc.errors import ConfigError, VariableError

HOME_VARIABLE = "LLM_ATC_HOME"
CONFIG_VARIABLE = "LLM_ATC_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`home` holds state, secrets, engines, models and logs; `config` is the user's own settings of launches;
    `environ` is the environment as it was found."""

    home: Path
    config: Path
    environ: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """`LLM_ATC_HOME` moves the home, which is `~/.llm-atc` otherwise; `LLM_ATC_CONFIG` the configuration,
        which is `llm-atc/config.yaml` in `$XDG_CONFIG_HOME` or `~/.config` otherwise. Raises VariableError
        for a home that is a file."""
        return cls(home=_home(environ), config=_config(environ), environ=environ)

    def existing_config(self) -> Path:
        """The path of the configuration. ConfigError when a variable names one that is not there."""
        if self.environ.get(CONFIG_VARIABLE) and not self.config.exists():
            raise ConfigError(
                f"{CONFIG_VARIABLE} names {self.config}, which is not there.", hint="llm-atc config init"
            )
        return self.config


def _home(environ: Mapping[str, str]) -> Path:
    given = environ.get(HOME_VARIABLE)
    home = (Path(given).expanduser() if given else Path.home() / ".llm-atc").absolute()
    if given and home.exists() and not home.is_dir():
        raise VariableError(
            f"{HOME_VARIABLE} names {home}, which is no directory.", hint=f"export {HOME_VARIABLE}=~/.llm-atc"
        )
    return home


def _config(environ: Mapping[str, str]) -> Path:
    if given := environ.get(CONFIG_VARIABLE):
        return Path(given).expanduser().absolute()
    base = Path(environ.get("XDG_CONFIG_HOME") or "")
    folder = base if base.is_absolute() else Path.home() / ".config"
    return folder / "llm-atc" / "config.yaml"
