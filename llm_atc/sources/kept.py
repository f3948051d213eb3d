"""Models that are kept on this machine: in the hub's own cache, and copied from buckets."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_atc.errors import AtcError, ModelNotFound, SourceError
from llm_atc.plan.checkpoint import read_checkpoint
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Where
from llm_atc.plan.plan import Plan
from llm_atc.plan.quantization import firsts, parts_of, quantization_of
from llm_atc.plan.selection import is_complete
from llm_atc.sources.disk import list_files

if TYPE_CHECKING:
    from llm_atc.sources.models import AllModels

# Which checkpoint a folder below home/models holds. Hidden: it is no file of the checkpoint.
RECORD = ".llm-atc.json"
PART_SUFFIX = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One model that is here. `ref` names it as `serve` takes it; `path` is its folder.

    `format` is None where no engine can load what is there, which is so of one that is not `complete`. Sizes
    are bytes, times epoch seconds; `used_by` are the deployments of this machine that load it.
    """

    ref: ModelRef
    path: Path
    files: tuple[str, ...] = field(repr=False)
    bytes: int
    format: Format | None
    complete: bool
    last_used: float | None
    revision: str | None = None
    used_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What `models remove` takes: the hub's name, or the bucket's address."""
        return str(self.ref)


def write_record(folder: Path, ref: ModelRef) -> None:
    """Say in the folder which checkpoint it holds, and that it is used now. Raises SourceError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps({"name": ref.name, "source": str(ref)}))
    except OSError as error:
        raise SourceError(f"{folder} cannot be written: {error.strerror}.", hint=f"df -h {folder}") from error


def list_kept(models: AllModels, plans: Mapping[str, Plan]) -> tuple[Kept, ...]:
    """Every model that is here, by name; `plans` are the deployments', by their names."""
    found = [*_in_hub_cache(models.hub_cache().folder), *_in_home(models.kept_folder())]
    used = [
        replace(one, used_by=tuple(name for name, plan in plans.items() if _uses(plan, one, models)))
        for one in found
    ]
    return tuple(sorted(used, key=lambda one: (one.name, one.revision or "")))


def find_kept(name: str, kept: Iterable[Kept]) -> tuple[Kept, ...]:
    """What a name means: a model, one of its revisions or quantizations, an address, or a folder.

    Raises ModelNotFound when that is nothing.
    """
    every = tuple(kept)
    found = tuple(one for one in every if name.rstrip("/") in (one.name, one.ref.name, str(one.path)))
    if not found:
        with suppress(AtcError):
            ref = ModelRef.parse(name)
            found = tuple(one for one in every if _means(ref, one))
    if not found:
        raise ModelNotFound(f"No model {name!r} is kept on this machine.", hint="llm-atc models")
    return found


def remove_kept(wanted: Iterable[Kept], models: AllModels) -> int:
    """Remove these, and nothing that another revision or quantization needs; how many bytes that freed."""
    freed = 0
    for one in wanted:
        root = one.path.parents[1] if one.revision else one.path
        before = _size(root)
        with _on_disk(one):
            if one.revision:
                _remove_from_cache(one, models.hub_cache().folder)
            else:
                shutil.rmtree(one.path)
        freed += before - _size(root)
    return freed


def _means(ref: ModelRef, one: Kept) -> bool:
    same = ref.location == one.ref.location
    revision = ref.revision is None or (one.revision or "").startswith(ref.revision)
    asked, has = ref.quantization, one.ref.quantization
    return same and revision and (asked is None or asked.upper() == (has or "").upper())


def _uses(plan: Plan, one: Kept, models: AllModels) -> bool:
    ref = plan.model.ref
    if not plan.place.local:
        return False
    file = plan.model.file
    if ref.where is Where.DISK:
        path = Path(ref.location) / file if file else Path(ref.location)
        return path == one.path or any(path == one.path / name for name in one.files)
    if ref.where is not one.ref.where:
        return False
    if ref.where is not Where.HUB:
        return models.folder(ref) == one.path
    return (
        ref.location == one.ref.location
        and plan.model.revision in (None, one.revision)
        and (file is None or file in one.files)
    )


# --- the hub's cache


def _in_hub_cache(folder: Path) -> Iterator[Kept]:
    from huggingface_hub import scan_cache_dir

    if not folder.is_dir():
        return
    for repo in scan_cache_dir(folder).repos:
        if repo.repo_type != "model":
            continue
        for revision in repo.revisions:
            yield from _in_revision(repo.repo_id, revision)
    for root in folder.glob("models--*"):
        begun = _begun(root)
        if begun and not any((root / "snapshots").glob("*/*")):
            repo_id = root.name.removeprefix("models--").replace("--", "/")
            yield Kept(
                ref=ModelRef(name=repo_id, where=Where.HUB, location=repo_id),
                path=root, files=(), bytes=begun, format=None, complete=False, last_used=root.stat().st_mtime,
            )  # fmt: skip


def _begun(root: Path) -> int:
    """Bytes of downloads that were broken off."""
    return sum(part.stat().st_size for part in root.glob("blobs/*.incomplete"))


def _in_revision(repo: str, revision: Any) -> Iterator[Kept]:
    """What one commit holds: a model of its own format, or each quantization of GGUF files."""
    root = Path(revision.snapshot_path)
    sizes = {
        Path(file.file_path).relative_to(root).as_posix(): int(file.size_on_disk) for file in revision.files
    }
    used = max((file.blob_last_accessed for file in revision.files), default=None)
    ref = ModelRef(name=repo, where=Where.HUB, location=repo)
    spec = _read(ref, root, sizes)
    if spec is None and "config.json" not in sizes and not any(name.endswith(".gguf") for name in sizes):
        return
    made = Kept(
        ref=ref, path=root, files=tuple(sizes), bytes=sum(sizes.values()), format=None, complete=False,
        last_used=used, revision=str(revision.commit_hash),
    )  # fmt: skip
    if spec is None or spec.format is not Format.GGUF:
        whole = spec is not None and is_complete(sizes)
        begun = 0 if whole else _begun(root.parents[1])
        yield replace(made, format=spec.format if spec else None, complete=whole, bytes=made.bytes + begun)
        return
    for first in firsts(sizes) or (spec.file or "",):
        parts = parts_of(first, sizes)
        label = quantization_of(first)
        yield replace(
            made,
            ref=replace(ref, name=f"{repo}:{label}", quantization=label),
            files=parts,
            bytes=sum(sizes[name] for name in parts),
            format=Format.GGUF,
            complete=is_complete(parts),
        )


def _remove_from_cache(one: Kept, folder: Path) -> None:
    from huggingface_hub import scan_cache_dir

    cache = scan_cache_dir(folder)
    repo = next(
        found for found in cache.repos if found.repo_id == one.ref.location and found.repo_type == "model"
    )
    own = next((found for found in repo.revisions if found.commit_hash == one.revision), None)
    if own is None:
        return  # with another row of the same commit
    paths = {one.path / name for name in one.files}
    gone = [file for file in own.files if file.file_path in paths]
    left = [file for file in own.files if file.file_path not in paths]
    if not any(file.file_name.endswith(".gguf") for file in left):
        cache.delete_revisions(str(one.revision)).execute()
        return
    needed = {file.blob_path for r in repo.revisions for file in r.files if r is not own} | {
        file.blob_path for file in left
    }
    for file in gone:
        Path(file.file_path).unlink()
        if file.blob_path not in needed:
            Path(file.blob_path).unlink(missing_ok=True)


# --- copies of buckets


def _in_home(folder: Path) -> Iterator[Kept]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ref = _recorded(path)
        if ref is None:
            continue
        sizes = list_files(path)
        spec = _read(ref, path, sizes)
        parts = any(name.endswith(PART_SUFFIX) for name in sizes)
        yield Kept(
            ref=ref,
            path=path,
            files=tuple(sizes),
            bytes=sum(sizes.values()),
            format=spec.format if spec else None,
            complete=spec is not None and not parts and is_complete(sizes),
            last_used=(path / RECORD).stat().st_mtime,
        )


def _recorded(path: Path) -> ModelRef | None:
    try:
        found = json.loads((path / RECORD).read_text())
        return ModelRef.parse(str(found["name"]), str(found["source"]))
    except (OSError, ValueError, KeyError, TypeError, AtcError):
        return None


def _read(ref: ModelRef, root: Path, sizes: Mapping[str, int]) -> ModelSpec | None:
    def head(name: str, length: int) -> bytes:
        with (root / name).open("rb") as file:
            return file.read(length)

    with suppress(AtcError, OSError):
        return read_checkpoint(ref, sizes, head)
    return None


def _size(root: Path) -> int:
    """Bytes below a folder, each file once, links not followed."""
    return sum(
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(root)
        for name in names
        if not (Path(folder) / name).is_symlink()
    )


@contextmanager
def _on_disk(one: Kept) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{error.filename or one.path} cannot be removed: {error.strerror}.", hint=f"ls -la {one.path}"
        ) from error
