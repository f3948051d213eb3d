"""`llm-atc config`: the user's own settings, and what all layers together say."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.options import AsJson
from llm_atc.cli.request import NOTHING_TYPED, Typed, gathered_with, takes_request, with_model

if TYPE_CHECKING:
    from llm_atc.config.template import Found
    from llm_atc.plan.keys import Key
    from llm_atc.settings import Settings

app = typer.Typer(name="config", help="Settings, and where each of them comes from.", no_args_is_help=True)


def _settings() -> Settings:
    from llm_atc.settings import Settings

    return Settings.read(os.environ)


@app.command("init")
def init(
    force: Annotated[
        bool, typer.Option("--force", help="Put a new file in the old one's place, which becomes .bak.")
    ] = False,
) -> None:
    """Look at this machine, and write a configuration with every setting explained."""
    from llm_atc.config import change, schema, template
    from llm_atc.config.file import text_of
    from llm_atc.errors import ConfigError

    settings = _settings()
    path = settings.config
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already.", hint="llm-atc config edit   (or init --force)")
    made = template.text(_look(settings), Path(schema.__file__).with_name(schema.FILE))
    if path.exists():
        change.write(path.with_name(f"{path.name}.bak"), text_of(path))
    change.write(path, made)
    typer.echo(path)


def _look(settings: Settings) -> Found:
    from llm_atc.access import looks_secret
    from llm_atc.config.template import Found, read_credentials
    from llm_atc.engines.installer import EnginesHere
    from llm_atc.engines.machine import nvidia_gpus, read_machine

    machine = read_machine()
    usual = ("HF_TOKEN", "WANDB_API_KEY")
    return Found(
        gpus=nvidia_gpus(),
        cpus=machine.cpus,
        memory=machine.memory,
        engines=tuple(one.environment for one in EnginesHere(settings.home).installed() if one.complete),
        credentials=read_credentials(settings.environ, Path.home()),
        variables=tuple(name for name in usual if looks_secret(name) and settings.environ.get(name)),
    )


@app.command("show")
@takes_request
def show(
    positional: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model: the same as --name.", show_default=False),
    ] = None,
    typed: Typed = NOTHING_TYPED,
    as_json: AsJson = False,
) -> None:
    """Show every setting with its value and its source, for these flags and this service file.

    It takes the flags of serve, and launches nothing.
    """
    from llm_atc.cli import output
    from llm_atc.config.shown import shown

    settled = gathered_with(with_model(typed, positional)).settled
    facts: dict[str, dict[str, Any]] = {
        name: {"value": shown(name, one), "source": one.source, "place": one.place or None}
        for name, one in settled.items()
    }
    if as_json:
        output.print_json(facts)
    else:
        _table(facts)


def _table(facts: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from llm_atc.cli import output
    from llm_atc.config.template import written

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("SETTING", "VALUE", "SOURCE", "PLACE"):
        table.add_column(heading, overflow="fold")
    for name, one in facts.items():
        style = "dim" if one["source"] == "default" else ""
        value = "" if one["value"] is None and style else written(one["value"])
        table.add_row(Text(name), Text(value), one["source"], Text(one["place"] or ""), style=style)
    output.data().print(table)


@app.command("path")
def path() -> None:
    """Print where the configuration lies, whether it is there or not."""
    typer.echo(_settings().config)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of the configuration and of service files."""
    from llm_atc.config.schema import text

    sys.stdout.write(text())


@app.command("edit")
def edit() -> None:
    """Open the configuration in $VISUAL or $EDITOR, and check it afterwards."""
    import shlex
    import subprocess

    from llm_atc.errors import ConfigError

    path = _settings().config
    if not path.exists():
        init(force=False)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        done = subprocess.run([*shlex.split(editor), str(path)], check=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"The editor {editor!r} cannot be started: {error}.", hint="EDITOR=nano") from None
    if done.returncode:
        raise ConfigError(f"The editor {editor!r} ended with {done.returncode}.")
    _check(path)


def _check(path: Path) -> None:
    from llm_atc.config.file import read_file
    from llm_atc.plan.layers import USER_CONFIG
    from llm_atc.store.engine_options import engine_options

    read_file(path, USER_CONFIG, engine_options)


@app.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    name: Annotated[str, typer.Argument(metavar="KEY", help="A setting, such as inference.gpu_memory.")],
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="Its value; null for none; commas between several.")
    ],
) -> None:
    """Change one setting of the configuration, and keep its comments and its order."""
    from llm_atc.config import change
    from llm_atc.config.file import text_of
    from llm_atc.errors import UsageError
    from llm_atc.folders import held
    from llm_atc.plan.asked_values import check_alone
    from llm_atc.plan.key_values import Misfit, from_text
    from llm_atc.store.engine_options import engine_options

    key = _key(name)
    try:
        read = from_text(key, value)
    except Misfit as error:
        raise UsageError(f"{key.name}: {error}.") from None
    try:
        check_alone(key.name, read)
    except UsageError as error:
        raise UsageError(f"{key.name}: {error.message}", hint=error.hint) from None
    path = _settings().config
    with held(path.resolve().parent, make=True):
        text = text_of(path) if path.exists() else ""
        change.write(path, change.changed(text, key, read, str(path), engine_options))


def _key(name: str) -> Key:
    from llm_atc.errors import UsageError
    from llm_atc.plan.key_values import nearest
    from llm_atc.plan.keys import BY_NAME

    wanted = name.replace("-", "_")
    if wanted not in BY_NAME:
        close = nearest(wanted, BY_NAME) or nearest(
            wanted.rpartition(".")[2], [one.rpartition(".")[2] for one in BY_NAME]
        )
        full = next((one for one in BY_NAME if close in (one, one.rpartition(".")[2])), None)
        raise UsageError(
            f"There is no setting {name!r}." + (f" Did you mean {full}?" if full else ""),
            hint="llm-atc config show",
        )
    return BY_NAME[wanted]
