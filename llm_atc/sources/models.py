"""All places that models come from, chosen by the reference."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from llm_atc.access import Secret
from llm_atc.plan.model import ModelRef, ModelSpec, Where
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.progress import Stage
from llm_atc.plan.request import name_for
from llm_atc.plan.selection import needed
from llm_atc.ports import Reporter

if TYPE_CHECKING:
    from llm_atc.sources.hub_cache import HubCache
    from llm_atc.sources.moving import Moved, Progress
    from llm_atc.sources.transfer import Choose

TENTHS = 10


class AllModels:
    """The hub, buckets and directories. `home` keeps what is copied from buckets: `home/models/NAME-ADDRESS`.

    The clouds' own libraries are imported when they are needed.
    """

    def __init__(self, home: Path, hub_cache: Path | None = None) -> None:
        self._home = home
        self._hub_cache = hub_cache

    def hub_cache(self) -> HubCache:
        """The hub's own cache; huggingface_hub's variables move it."""
        from llm_atc.sources.hub_cache import HubCache

        return HubCache(self._hub_cache)

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        """See ModelSource.look. The location that is returned is absolute, and a folder's."""
        match ref.where:
            case Where.HUB:
                from llm_atc.sources.huggingface import HuggingFace

                return HuggingFace().look(ref, token)
            case Where.DISK:
                from llm_atc.sources.disk import Disk

                return Disk().look(ref, token)
            case Where.S3 | Where.GCS:
                from llm_atc.sources.bucket import Address
                from llm_atc.sources.reading import look_in_bucket
                from llm_atc.sources.transfer import open_bucket

                with open_bucket(Address.parse(ref.location)) as bucket:
                    return look_in_bucket(ref, bucket)
            case _:
                assert_never(ref.where)

    def measure(self, ref: ModelRef, token: Secret | None) -> Facts:
        """See Models.measure."""
        from llm_atc.sources.tensors import read_facts

        return read_facts(ref, token)

    def fetch(self, model: ModelSpec, report: Reporter) -> str:
        """See Models.fetch. A GGUF model's path is its file's."""
        match model.ref.where:
            case Where.HUB:
                return self._from_hub(model, report)
            case Where.S3 | Where.GCS:
                self._copy(model, report)
            case Where.DISK:
                pass
            case _:
                assert_never(model.ref.where)
        return self.path(model)

    def path(self, model: ModelSpec) -> str:
        """See Models.path."""
        if model.ref.where is Where.HUB and model.file is None:
            return model.ref.location
        folder = self._folder_of(model)
        return str(folder / model.file if model.file else folder)

    def _folder_of(self, model: ModelSpec) -> Path:
        match model.ref.where:
            case Where.HUB:
                return self.hub_cache().snapshot(model)
            case Where.DISK:
                from llm_atc.sources.disk import absolute

                return absolute(model.ref.location)
            case Where.S3 | Where.GCS:
                return self.folder(model.ref)
            case _:
                assert_never(model.ref.where)

    def _from_hub(self, model: ModelSpec, report: Reporter) -> str:
        """vLLM fetches a repository by itself; a GGUF file is fetched here, with the parts that follow it."""
        if model.file is None:
            return model.ref.location
        from llm_atc.sources.huggingface import HuggingFace

        report.stage(Stage.WEIGHTS)
        return HuggingFace().fetch_file(model.ref, model.file, model.revision, self._hub_cache)

    def kept_folder(self) -> Path:
        """What is copied from buckets lies below it."""
        return self._home / "models"

    def folder(self, ref: ModelRef) -> Path:
        """Where a bucket's checkpoint is kept: an address' digest keeps two of one name apart."""
        address = hashlib.sha256(str(ref).encode()).hexdigest()[:8]
        return self.kept_folder() / f"{name_for(ref.name)}-{address}"

    def pull(self, model: ModelSpec, progress: Progress, choose: Choose | None = None) -> tuple[Path, Moved]:
        """Bring what an engine needs of a bucket's checkpoint, or what `choose` says, to its folder here."""
        from llm_atc.sources.kept import write_record
        from llm_atc.sources.transfer import pull

        folder = self.folder(model.ref)
        wanted = choose or (lambda files: needed(files, model))
        write_record(folder, model.ref)
        return folder, pull(model.ref.location, folder, progress, mirror=True, choose=wanted)

    def _copy(self, model: ModelSpec, report: Reporter) -> None:
        location = model.ref.location
        report.stage(Stage.WEIGHTS)
        last = -1

        def progress(done: int, total: int, name: str) -> None:
            nonlocal last
            tenth = done * TENTHS // total if total else TENTHS
            if tenth != last:
                last = tenth
                report.line(f"{location}: {done / 1e9:.2f} of {total / 1e9:.2f} GB copied ({name})")

        folder, moved = self.pull(model, progress)
        if moved.skipped < moved.files:
            report.note(f"Copied {moved.bytes / 1e9:.2f} GB from {location} to {folder}.")
