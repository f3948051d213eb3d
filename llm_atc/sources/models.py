"""All places that models come from, chosen by the reference."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import assert_never

from llm_atc.access import Secret
from llm_atc.plan.model import ModelRef, ModelSpec, Where
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.progress import Stage
from llm_atc.plan.request import name_for
from llm_atc.ports import Reporter

TENTHS = 10


class AllModels:
    """The hub, buckets and directories. `home` keeps what is copied from buckets: `home/models/NAME-ADDRESS`.

    The clouds' own libraries are imported when they are needed.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

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
        ref = model.ref
        if ref.where is Where.HUB:
            return self._from_hub(model, report)
        if ref.where is Where.DISK:
            from llm_atc.sources.disk import absolute

            folder = absolute(ref.location)
        else:
            folder = self._folder(ref)
            self._pull(ref, folder, report)
        return str(folder / model.file if model.file else folder)

    def _from_hub(self, model: ModelSpec, report: Reporter) -> str:
        """vLLM fetches a repository by itself; a GGUF file is fetched here, with the parts that follow it."""
        if model.file is None:
            return model.ref.location
        from llm_atc.sources.huggingface import HuggingFace

        report.stage(Stage.WEIGHTS)
        return HuggingFace().fetch_file(model.ref, model.file, model.revision)

    def _folder(self, ref: ModelRef) -> Path:
        """Two addresses may hold models of one name: a part of the address' digest keeps them apart."""
        address = hashlib.sha256(ref.location.encode()).hexdigest()[:8]
        return self._home / "models" / f"{name_for(ref.name)}-{address}"

    def _pull(self, ref: ModelRef, folder: Path, report: Reporter) -> None:
        from llm_atc.sources.transfer import pull

        report.stage(Stage.WEIGHTS)
        last = -1

        def progress(done: int, total: int, name: str) -> None:
            nonlocal last
            tenth = done * TENTHS // total if total else TENTHS
            if tenth != last:
                last = tenth
                report.line(f"{ref.location}: {done / 1e9:.2f} of {total / 1e9:.2f} GB copied ({name})")

        moved = pull(ref.location, folder, progress, mirror=True)
        if moved.skipped < moved.files:
            report.note(f"Copied {moved.bytes / 1e9:.2f} GB from {ref.location} to {folder}.")
