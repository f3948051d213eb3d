"""A model brought to this machine, to where a later `serve` of it looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_atc.access import Secret
from llm_atc.errors import UsageError
from llm_atc.plan.checkpoint import Sizes
from llm_atc.plan.model import ModelRef, ModelSpec, Where
from llm_atc.plan.selection import needed, picked
from llm_atc.sources.models import AllModels
from llm_atc.sources.moving import Moved, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """What was brought: `path` is a folder, or the GGUF file that an engine loads."""

    model: ModelSpec
    path: Path
    moved: Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Patterns of file names: `include` in place of what an engine needs, and `exclude` from either."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


def download(
    models: AllModels,
    ref: ModelRef,
    progress: Progress,
    *,
    wish: Wish | None = None,
    token: Secret | None = None,
    told: Callable[[ModelSpec], None] = lambda _: None,
) -> Downloaded:
    """Look, then bring the files that an engine needs; `told` hears of the model before anything is brought.

    Raises what Models.look raises, ModelError when the patterns leave nothing, SourceError when the disk is
    too small, and UsageError for a directory, which is here already.
    """
    if ref.where is Where.DISK:
        raise UsageError(f"{ref.location} is on this machine already.", hint=f"llm-atc serve {ref.location}")
    model = models.look(ref, token)
    told(model)
    wished = wish or Wish()

    def choose(files: Sizes) -> tuple[str, ...]:
        return picked(files, needed(files, model), wished.include, wished.exclude, model.ref.location)

    if ref.where is Where.HUB:
        folder, moved = _from_hub(models, model, choose, token, progress)
    else:
        folder, moved = models.pull(model, progress, choose)
    alone = model.file is not None and not wished.include
    return Downloaded(model=model, path=folder / model.file if alone and model.file else folder, moved=moved)


def _from_hub(
    models: AllModels,
    model: ModelSpec,
    choose: Callable[[Sizes], tuple[str, ...]],
    token: Secret | None,
    progress: Progress,
) -> tuple[Path, Moved]:
    cache = models.hub_cache()
    files = cache.files(model, token)
    names = choose({name: file.size for name, file in files.items()})
    return cache.download(model, files, names, token, progress)
