"""The cache in the user's bucket, between real folders of huggingface_hub and a real S3 on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import huggingface_hub
import pytest

import llm_atc
from llm_atc.cache import compiled, weights
from llm_atc.cache.bucket import Bucket
from llm_atc.cache.config import Config, read_config
from tests.hub import Hub
from tests.source_fixtures import S3Place, closed_port, use_aws

MODEL = "me/tiny"


@pytest.fixture
def bucket(s3_place: S3Place, own_environment: Path, moto_url: str) -> Bucket:
    use_aws(own_environment, moto_url)
    return Bucket(s3_place.name)


def config(s3_place: S3Place, home: Path, revision: str, **more: str) -> Config:
    told = {
        "CACHE": f"{s3_place.address}/llm-atc",
        "MODEL": MODEL,
        "CACHE_REVISION": revision,
        "ENGINE_VERSION": "0.32.0",
    }
    return read_config(told | more, home, "NVIDIA L4")


def downloaded(hub: Hub, home: Path) -> str:
    """Download the model as an engine does; its commit."""
    revision = hub.repositories[MODEL].sha
    folder = home / ".cache" / "huggingface" / "hub"
    huggingface_hub.snapshot_download(MODEL, revision=revision, endpoint=hub.url, cache_dir=folder)
    return revision


def test_the_next_machine_gets_every_weight_without_the_hub(
    s3_place: S3Place, bucket: Bucket, model_directory: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with Hub({MODEL: model_directory}) as hub:
        revision = downloaded(hub, first)
        here = config(s3_place, first, revision)
        assert here.weights is not None
        put = weights.put(bucket, here.weights, here.snapshot)
        names = {path.name for path in model_directory.iterdir()}
        assert put == (len(names), sum(path.stat().st_size for path in model_directory.iterdir()))
        start = f"llm-atc/weights/models--me--tiny/{revision}/vllm/"
        assert set(s3_place.keys()) == {start + name for name in (*names, "complete.json")}
        assert weights.put(bucket, here.weights, here.snapshot) is None, "what is there is not put again"

        there = config(s3_place, second, revision)
        assert there.weights is not None
        assert weights.take(bucket, there.weights, there.snapshot) == put
        hub.requests.clear()
        downloaded(hub, second)
        assert [path for _, path in hub.requests if "resolve" in path] == []
    loaded = huggingface_hub.snapshot_download(
        MODEL, revision=revision, cache_dir=there.snapshot.parents[2], local_files_only=True
    )
    for path in model_directory.iterdir():
        assert (Path(loaded) / path.name).read_bytes() == path.read_bytes()
    assert weights.take(bucket, there.weights, there.snapshot) == (0, 0), "what is here is not taken again"


def test_the_bucket_is_asked_where_the_configuration_says_now(
    s3_place: S3Place, own_environment: Path, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_aws(own_environment, closed_port())
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session())
    boto3.client("s3").close()  # boto3's own session has read the configuration now
    use_aws(own_environment, moto_url)
    s3_place.put("here", b"")
    assert Bucket(s3_place.name).has("here")


def test_an_upload_that_was_interrupted_is_never_used(
    s3_place: S3Place, bucket: Bucket, tmp_path: Path
) -> None:
    s3_place.put("w/model.safetensors", b"half of it")
    assert weights.take(bucket, "w/", tmp_path / "snapshot") is None
    assert not (tmp_path / "snapshot").exists()


def test_an_upload_is_gone_on_with_by_the_next_machine(
    s3_place: S3Place, bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("[]")
    s3_place.put("w/config.json", b"")
    s3_place.put("w/complete.json", json.dumps({"config.json": 2, "other.json": 7}).encode())
    assert weights.put(bucket, "w/", tmp_path) == (1, 2)
    assert json.loads(s3_place.get("w/complete.json")) == {
        "config.json": 2,
        "other.json": 7,
        "tokenizer.json": 2,
    }


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ({"model.safetensors": 99}, "model.safetensors has another size"),
        ({"../../.bashrc": 9}, "names '../../.bashrc'"),
        ({"/etc/passwd": 9}, "names '/etc/passwd'"),
        (["model.safetensors"], "is no list of files"),
    ],
)
def test_what_is_damaged_never_gets_a_files_name(
    s3_place: S3Place, bucket: Bucket, tmp_path: Path, listed: object, why: str
) -> None:
    s3_place.put("w/model.safetensors", b"something")
    s3_place.put("w/complete.json", json.dumps(listed).encode())
    with pytest.raises(weights.Damaged, match=why):
        weights.take(bucket, "w/", tmp_path / "snapshot")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_compiled_code_comes_as_a_whole_and_only_where_there_is_none(
    s3_place: S3Place, bucket: Bucket, tmp_path: Path
) -> None:
    made, taken = tmp_path / "made" / "vllm", tmp_path / "taken" / "vllm"
    (made / "torch_compile_cache" / "abc").mkdir(parents=True)
    (made / "torch_compile_cache" / "abc" / "code.py").write_text("pass")
    (made / "assets").mkdir()
    (made / "assets" / "picture").write_text("left out")
    assert compiled.put(bucket, "c.tar.gz", made)
    assert not compiled.put(bucket, "c.tar.gz", made)
    assert compiled.take(bucket, "c.tar.gz", taken)
    assert [path.relative_to(taken).as_posix() for path in taken.rglob("*") if path.is_file()] == [
        "torch_compile_cache/abc/code.py"
    ]
    assert list(taken.parent.iterdir()) == [taken], "no draft is left"
    assert not compiled.take(bucket, "c.tar.gz", taken)
    assert not compiled.take(bucket, "absent.tar.gz", tmp_path / "none")


def test_compiled_code_is_for_one_engine_model_and_gpu(s3_place: S3Place, tmp_path: Path) -> None:
    same = config(s3_place, tmp_path, "a" * 40).compiled
    assert same.startswith("llm-atc/compiled/vllm-0.32.0/")
    assert config(s3_place, tmp_path, "a" * 40, HF_TOKEN="x").compiled == same
    for name in ("MODEL", "ENGINE_ARGS", "ENGINE_VERSION"):
        assert config(s3_place, tmp_path, "a" * 40, **{name: "other"}).compiled != same
    assert config(s3_place, tmp_path, "b" * 40).compiled != same


def test_without_a_pinned_commit_no_weights_are_kept(s3_place: S3Place, tmp_path: Path) -> None:
    assert config(s3_place, tmp_path, "main").weights is None
    assert config(s3_place, tmp_path, "").weights is None


@pytest.mark.parametrize(("word", "doing"), [("take", "read"), ("put", "written")])
def test_a_bucket_that_cannot_be_used_is_one_warning(
    own_environment: Path, moto_url: str, tmp_path: Path, word: str, doing: str
) -> None:
    use_aws(own_environment, moto_url)
    (tmp_path / ".cache" / "vllm" / "torch_compile_cache").mkdir(parents=True)
    told = {"CACHE": "s3://nobodys-bucket/x", "MODEL": MODEL, "CACHE_REVISION": "a" * 40}
    ran = subprocess.run(
        [sys.executable, "-m", "llm_atc.cache", word],
        env={
            **os.environ,
            **told,
            "ENGINE_VERSION": "0.32.0",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(Path(llm_atc.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    (line,) = ran.stdout.splitlines()
    assert line.startswith(f"[llm-atc] warning: the cache s3://nobodys-bucket/x was not {doing}, and serving")
    assert "NoSuchBucket" in line or "does not exist" in line
