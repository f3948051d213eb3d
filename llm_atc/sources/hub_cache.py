"""The hub's own cache on this machine: what a download brings there, and what is there of a commit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from llm_atc.access import Secret
from llm_atc.errors import SourceError
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.sources.huggingface import HUB, TIMEOUT, translated
from llm_atc.sources.moving import Count, Done, Moved, Progress, check_room, move_each

DEFAULT_BRANCH = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository: its size in bytes, and the name of its content in the cache."""

    size: int
    blob: str


class _Bar:
    """What huggingface_hub takes for a progress bar: it counts, and ends the download when told to stop."""

    def __init__(self, count: Count, name: str, initial: int) -> None:
        self._count, self._name = count, name
        self.counted = 0
        self.update(initial)

    def update(self, size: float = 1) -> None:
        self.counted += int(size)
        self._count.add(int(size), self._name)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HubCache:
    """Downloads into the cache that huggingface_hub, vLLM and transformers read, by commit."""

    def __init__(self, folder: Path | None = None) -> None:
        from huggingface_hub import constants

        self.folder = folder or Path(constants.HF_HUB_CACHE)
        self._endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")

    def files(self, spec: ModelSpec, token: Secret | None) -> dict[str, HubFile]:
        """Every file of the commit, by name. Raises as `HuggingFace.look` does."""
        from huggingface_hub import HfApi

        value = self._token(token)
        with translated(spec.ref, self._endpoint, given=value is not None):
            info = HfApi(endpoint=self._endpoint, token=value).model_info(
                spec.ref.location, revision=spec.revision, files_metadata=True, timeout=TIMEOUT
            )
        return {
            found.rfilename: HubFile(
                size=found.size or 0, blob=str(found.lfs.sha256 if found.lfs else found.blob_id)
            )
            for found in info.siblings or ()
        }

    def download(
        self,
        spec: ModelSpec,
        files: Mapping[str, HubFile],
        names: Sequence[str],
        token: Secret | None,
        progress: Progress,
    ) -> tuple[Path, Moved]:
        """Bring these files of the commit here, and return the folder that shows them under their names.

        What is here already is not fetched again, and what was begun is gone on with. Raises as `look` does,
        and SourceError when the disk is too small or full.
        """
        root = self._root(spec.ref)
        check_room(self.folder, sum(files[name].size - self._begun(root, files[name]) for name in names))
        count = Count(sum(files[name].size for name in names), progress)
        value = self._token(token)

        def get(name: str) -> Done:
            with translated(spec.ref, self._endpoint, given=value is not None):
                return self._get(spec, name, files[name], value, count)

        # Small files first: an interruption then leaves what says which model it is.
        order = sorted(names, key=lambda name: files[name].size)
        try:
            moved = move_each({name: files[name].size for name in order}, get, count)
            self._keep_name(root, spec)
        except OSError as error:
            raise SourceError(
                f"{error.filename or self.folder} cannot be written: {error.strerror or error}.",
                hint=f"df -h {self.folder}",
            ) from error
        return self.snapshot(spec), moved

    def snapshot(self, spec: ModelSpec) -> Path:
        """The folder that shows the commit's files under their names, whether they are here or not."""
        return self._root(spec.ref) / "snapshots" / str(spec.revision)

    def _get(self, spec: ModelSpec, name: str, file: HubFile, token: str | None, count: Count) -> Done:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        found = try_to_load_from_cache(spec.ref.location, name, cache_dir=self.folder, revision=spec.revision)
        if isinstance(found, str):
            count.add(file.size, name)
            return Done(skipped=True)
        bars: list[_Bar] = []

        def bar(*, initial: int = 0, **_: Any) -> _Bar:
            bars.append(_Bar(count, name, initial))
            return bars[-1]

        count.add(0, name)
        hf_hub_download(
            spec.ref.location,
            name,
            revision=spec.revision,
            cache_dir=self.folder,
            endpoint=self._endpoint,
            token=token,
            tqdm_class=bar,
        )
        counted = sum(one.counted for one in bars)
        count.add(file.size - counted, name)
        return Done(skipped=not bars)

    def _begun(self, root: Path, file: HubFile) -> int:
        """Bytes of this content that are here, whole or in part."""
        whole = root / "blobs" / file.blob
        part = whole.with_name(f"{file.blob}.incomplete")
        return next((min(one.stat().st_size, file.size) for one in (whole, part) if one.exists()), 0)

    def _keep_name(self, root: Path, spec: ModelSpec) -> None:
        """Say which commit the branch means: without a name `hf cache prune` takes it for left over."""
        name = spec.ref.revision or DEFAULT_BRANCH
        if name != spec.revision:
            ref = root / "refs" / name
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(str(spec.revision))

    def _root(self, ref: ModelRef) -> Path:
        from huggingface_hub.file_download import repo_folder_name

        return self.folder / str(repo_folder_name(repo_id=ref.location, repo_type="model"))

    def _token(self, token: Secret | None) -> str | None:
        from huggingface_hub import get_token

        found = token.reveal() if token else get_token()
        return str(found) if found else None
