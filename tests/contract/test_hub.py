"""The stand-in hub is a hub, to the real client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from tests.hub import Hub

HubOf = Callable[..., Hub]


def test_a_whole_repository_is_downloaded(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub = hub_of({"org/tiny": model_directory})
    found = snapshot_download("org/tiny", endpoint=hub.url, cache_dir=tmp_path / "cache", etag_timeout=5)
    names = sorted(path.name for path in Path(found).iterdir())
    assert names == sorted(path.name for path in model_directory.iterdir())
    for name in names:
        assert (Path(found) / name).read_bytes() == (model_directory / name).read_bytes()


def test_a_second_download_fetches_no_file_again(
    hub_of: HubOf, model_directory: Path, tmp_path: Path
) -> None:
    hub = hub_of({"org/tiny": model_directory})
    snapshot_download("org/tiny", endpoint=hub.url, cache_dir=tmp_path)
    hub.requests.clear()
    snapshot_download("org/tiny", endpoint=hub.url, cache_dir=tmp_path)
    assert [path for method, path in hub.requests if method == "GET" and "/resolve/" in path] == []


def test_one_file_is_downloaded_at_a_commit(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub = hub_of({"org/tiny": model_directory})
    sha = HfApi(endpoint=hub.url).model_info("org/tiny").sha
    found = hf_hub_download(
        "org/tiny", "config.json", revision=sha, endpoint=hub.url, cache_dir=tmp_path / "cache"
    )
    assert json.loads(Path(found).read_text())["architectures"] == ["LlamaForCausalLM"]
    assert str(sha) in found


def test_model_information_has_the_commit_and_the_sizes(hub_of: HubOf, model_directory: Path) -> None:
    hub = hub_of({"org/tiny": model_directory})
    info = HfApi(endpoint=hub.url).model_info("org/tiny", files_metadata=True)
    assert len(str(info.sha)) == 40
    assert info.gated is False
    sizes = {found.rfilename: found.size for found in info.siblings or ()}
    assert sizes == {path.name: path.stat().st_size for path in model_directory.iterdir()}


def test_trees_and_paths_are_listed(hub_of: HubOf, model_directory: Path) -> None:
    (model_directory / "1_Pooling").mkdir()
    (model_directory / "1_Pooling" / "config.json").write_text("{}")
    api = HfApi(endpoint=hub_of({"org/tiny": model_directory}).url)
    whole = {entry.path for entry in api.list_repo_tree("org/tiny", recursive=True)}
    assert {"1_Pooling", "1_Pooling/config.json", "config.json"} <= whole
    assert [e.path for e in api.list_repo_tree("org/tiny", "1_Pooling")] == ["1_Pooling/config.json"]
    assert [e.path for e in api.get_paths_info("org/tiny", ["config.json", "absent"])] == ["config.json"]
    assert [ref.name for ref in api.list_repo_refs("org/tiny").branches] == ["main"]


def test_a_broken_download_continues_by_range(hub_of: HubOf, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    content = bytes(range(256)) * 400
    (root / "model.safetensors").write_bytes(content)
    hub = hub_of({"org/large": root})
    info = HfApi(endpoint=hub.url).model_info("org/large", files_metadata=True)
    assert info.siblings is not None
    lfs = info.siblings[0].lfs
    assert lfs is not None
    blobs = tmp_path / "cache" / "models--org--large" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{lfs.sha256}.incomplete").write_bytes(content[:50_000])
    found = hf_hub_download("org/large", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert Path(found).read_bytes() == content


def test_a_gated_repository_wants_its_token(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub = hub_of({"org/gated": model_directory}, gated={"org/gated": "hf_right"})
    for token in (False, "hf_wrong"):
        with pytest.raises(GatedRepoError):
            hf_hub_download("org/gated", "config.json", endpoint=hub.url, token=token, cache_dir=tmp_path)
    assert hf_hub_download("org/gated", "config.json", endpoint=hub.url, token="hf_right", cache_dir=tmp_path)


def test_what_is_absent_is_said_to_be_absent(hub_of: HubOf, model_directory: Path) -> None:
    api = HfApi(endpoint=hub_of({"org/tiny": model_directory}).url)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/absent")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/tiny", revision="no-such-branch")
