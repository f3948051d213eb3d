"""`llm-atc download` and `llm-atc models`: bring models here, see what is here, and remove it."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.checkpoints import shown, size_text
from llm_atc.cli.options import AsJson, Yes, asking, invocation_of

if TYPE_CHECKING:
    from llm_atc.plan.model import ModelSpec
    from llm_atc.sources.download import Downloaded
    from llm_atc.sources.kept import Kept
    from llm_atc.sources.models import AllModels

models_app = typer.Typer(
    name="models",
    help="List the models that are on this machine, and remove them.",
    invoke_without_command=True,
)


def download(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="OWNER/NAME, OWNER/NAME@REVISION:QUANTIZATION, s3://…, gs://…; llm-atc/NAME with --source.",
            show_default=False,
        ),
    ],
    source: Annotated[str | None, typer.Option(help="Where the checkpoint lies: s3://… or gs://….")] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit of the hub.")] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="These files in place of what an engine needs: a pattern; repeatable."),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not these files: a pattern; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a model to this machine, to where `serve` finds it. Run it again to continue.

    Each weight comes once, in the one format that an engine loads; of GGUF one quantization.
    """
    from llm_atc.cli.main import show_error
    from llm_atc.errors import Interrupted
    from llm_atc.plan.model import ModelRef
    from llm_atc.sources.download import Wish
    from llm_atc.sources.download import download as bring

    ref = ModelRef.parse(model, source, revision)
    try:
        with shown("Downloading") as progress:
            done = bring(
                _models(),
                ref,
                progress,
                wish=Wish(include=include or (), exclude=exclude or ()),
                told=_tell_choice,
            )
    except KeyboardInterrupt:
        show_error(Interrupted("Interrupted. What has come stays.", hint=invocation_of(context).again()))
        # Threads may wait long for a server that is silent, and Python would wait for them; every byte that
        # has come is on the disk.
        os._exit(Interrupted.exit_code)
    _tell(done, as_json=as_json)


def _tell_choice(model: ModelSpec) -> None:
    from llm_atc.plan.plan import choice

    for sentence in choice(model):
        typer.echo(f"· {sentence}", err=True)


def _tell(done: Downloaded, *, as_json: bool) -> None:
    from llm_atc.cli.output import print_json

    if as_json:
        facts = {
            "model": done.model.ref.name,
            "revision": done.model.revision,
            "format": str(done.model.format),
            "path": str(done.path),
            "files": done.moved.files,
            "bytes": done.moved.bytes,
            "skipped": done.moved.skipped,
        }
        print_json(facts)
        return
    typer.echo(done.path)
    typer.echo(
        f"{done.moved.files} files, {size_text(done.moved.bytes)}; {done.moved.skipped} were there already.",
        err=True,
    )


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that are on this machine, and remove them.

    Those of the hub's cache that an engine can load, and copies of buckets.
    """
    if context.invoked_subcommand is not None:
        return
    from llm_atc.cli.output import print_json

    found = _kept(_models())
    if as_json:
        print_json([_facts(one) for one in found])
    elif found:
        _print(found)
    else:
        typer.echo("No model is here. Bring one: llm-atc download Qwen/Qwen3-0.6B", err=True)


@models_app.command("remove")
def remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="As `llm-atc models` names it.", show_default=False)
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a model from this machine. Asks first when a deployment uses it."""
    from llm_atc.cli.output import print_json
    from llm_atc.sources.kept import find_kept, remove_kept

    here = _models()
    wanted = find_kept(name, _kept(here))
    users = sorted({user for one in wanted for user in one.used_by})
    if users:
        asking(yes)(f"{name} is used by {', '.join(users)}. Remove it all the same?")
    freed = remove_kept(wanted, here)
    if as_json:
        print_json({"removed": [_facts(one) for one in wanted], "freed": freed})
    else:
        typer.echo(
            f"Removed {', '.join(dict.fromkeys(one.name for one in wanted))}: {size_text(freed)} freed."
        )


def _models() -> AllModels:
    from llm_atc.settings import Settings
    from llm_atc.sources.models import AllModels

    return AllModels(Settings.read(os.environ).home)


def _kept(here: AllModels) -> tuple[Kept, ...]:
    from llm_atc.cli.serve import open_world
    from llm_atc.sources.kept import list_kept

    return list_kept(here, {one.name: one.plan for one in open_world().store.all()})


def _facts(one: Kept) -> dict[str, Any]:
    """A model as `--json` prints it: sizes in bytes, times in epoch seconds."""
    return {
        "name": one.name,
        "where": str(one.ref.where),
        "format": str(one.format) if one.format else None,
        "engine": _engine(one),
        "revision": one.revision,
        "complete": one.complete,
        "files": len(one.files),
        "bytes": one.bytes,
        "last_used": one.last_used,
        "used_by": list(one.used_by),
        "path": str(one.path),
    }


def _engine(one: Kept) -> str | None:
    from llm_atc.plan.plan import RUNS

    return str(RUNS[one.format]) if one.format else None


def _print(found: tuple[Kept, ...]) -> None:
    from rich.table import Table

    from llm_atc.cli.output import data

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("MODEL", "SIZE", "ENGINE", "REVISION", "LAST USED", "USED BY"):
        table.add_column(heading, overflow="fold")
    for one in found:
        used = datetime.fromtimestamp(one.last_used).astimezone() if one.last_used else None
        table.add_row(
            one.name,
            size_text(one.bytes),
            _engine(one) if one.complete else "[yellow]not complete[/]",
            (one.revision or "")[:12],
            f"{used:%Y-%m-%d %H:%M}" if used else "",
            ", ".join(one.used_by),
        )
    data().print(table)
