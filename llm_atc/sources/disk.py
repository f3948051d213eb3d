"""Models in a directory of this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from llm_atc.access import Secret
from llm_atc.errors import ModelNotFound, SourceError
from llm_atc.plan.checkpoint import read_checkpoint
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.quantization import parts_of


class Disk:
    """Directories, and GGUF files by themselves."""

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        """Read names and metadata, no weights; the returned location is absolute.

        A GGUF file means its folder and that file. Raises ModelNotFound when nothing is there,
        SourceError when it may not be read, ModelUnservable when no engine can load it.
        """
        path = absolute(ref.location)
        try:
            folder = path.parent if path.is_file() else path
            sizes = _set_of(path) if path.is_file() else list_files(path)
            return read_checkpoint(
                replace(ref, location=str(folder)), sizes, lambda name, length: _head(folder / name, length)
            )
        except FileNotFoundError as error:
            raise ModelNotFound(
                f"There is no directory {path}.", hint=f"ls {_nearest(path)}   (a hub's model is OWNER/NAME)"
            ) from error
        except OSError as error:
            raise SourceError(
                f"{error.filename or path} cannot be read: {error.strerror}.", hint=f"ls -la {path}"
            ) from error


def absolute(location: str) -> Path:
    """The path that a user meant: `~` is the home, and links stay links."""
    return Path(os.path.abspath(Path(location).expanduser()))  # noqa: PTH100  Path.resolve follows links


def list_files(directory: Path) -> dict[str, int]:
    """Names below the directory, and sizes; hidden files and folders are left out. Raises OSError.

    Links to files are followed, for the hub's own cache is made of them.
    """
    found: dict[str, int] = {}
    pending = [directory]
    while pending:
        for entry in pending.pop().iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if not entry.is_symlink():
                    pending.append(entry)
            else:
                found[entry.relative_to(directory).as_posix()] = entry.stat().st_size
    return dict(sorted(found.items()))


def _set_of(path: Path) -> dict[str, int]:
    """A file by itself, and what follows it where it is the first of a set."""
    names = parts_of(path.name, [beside.name for beside in path.parent.iterdir()])
    return {name: path.with_name(name).stat().st_size for name in names}


def _head(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def _nearest(path: Path) -> Path:
    return next((parent for parent in path.parents if parent.is_dir()), Path("/"))
