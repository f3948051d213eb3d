"""`llm-atc checkpoints`: list a checkpoint, and copy it to and from a bucket."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="checkpoints",
    help="List checkpoints, and copy them to and from buckets.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="s3://BUCKET/PATH or gs://BUCKET/PATH.", show_default=False)
]
TENTHS = 10


@app.command("ls")
def list_files(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="s3://BUCKET/PATH, gs://BUCKET/PATH or a directory.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """List the files of a checkpoint, and their sizes in bytes."""
    from llm_atc.sources.transfer import list_checkpoint

    files = list_checkpoint(address)
    total = sum(file.size for file in files)
    if as_json:
        listed = [{"name": file.name, "size": file.size} for file in files]
        _print_json({"address": address, "bytes": total, "files": listed})
        return
    width = len(str(total))
    for file in files:
        typer.echo(f"{file.size:>{width}}  {file.name}")
    typer.echo(f"{len(files)} files, {size_text(total)}", err=True)


@app.command("push")
def push(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="A checkpoint on this machine.", show_default=False),
    ],
    address: AddressArgument,
    as_json: AsJson = False,
) -> None:
    """Copy a directory to a bucket, verified. Run it again to continue; what is there is not sent again.

    Hidden files are not copied, and nothing in the bucket is removed.
    """
    from llm_atc.sources import transfer

    with shown("Pushing") as progress:
        moved = transfer.push(directory, address, progress)
    _tell(moved, str(directory), address, as_json=as_json)


@app.command("pull")
def pull(
    address: AddressArgument,
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="Where to; made when it is not there.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Copy a checkpoint from a bucket, verified. Run it again to continue.

    Files of the same name and other content are replaced.
    """
    from llm_atc.sources import transfer

    with shown("Pulling") as progress:
        moved = transfer.pull(address, directory, progress)
    _tell(moved, address, str(directory), as_json=as_json)


def _tell(moved: Any, source: str, target: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(
            {
                "from": source,
                "to": target,
                "files": moved.files,
                "bytes": moved.bytes,
                "skipped": moved.skipped,
                "unverified": list(moved.unverified),
            }
        )
        return
    typer.echo(
        f"{target}: {moved.files} files, {size_text(moved.bytes)}; {moved.skipped} were there already."
    )
    if moved.unverified:
        typer.echo(
            f"Compared by size alone, for the bucket keeps no checksum: {', '.join(moved.unverified)}",
            err=True,
        )


@contextmanager
def shown(verb: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on a terminal's stderr; a line for each tenth without one."""
    if not sys.stderr.isatty():
        yield _tenths(verb)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[file]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None, file="")
        yield lambda done, total, name: bar.update(task, completed=done, total=total, file=name)


def _tenths(verb: str) -> Callable[[int, int, str], None]:
    last = -1

    def progress(done: int, total: int, name: str) -> None:
        nonlocal last
        tenth = done * TENTHS // total if total else TENTHS
        if tenth > last:
            last = tenth
            typer.echo(f"{verb}: {size_text(done)} of {size_text(total)} ({name})", err=True)

    return progress


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def size_text(count: int) -> str:
    """A number of bytes as people read it."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
