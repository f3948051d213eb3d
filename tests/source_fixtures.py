"""Places that models come from, real and on loopback: S3, Google Cloud Storage, a hub, and tiny models.

Each test gets an environment of its own: nothing of the user's credentials or configuration is read.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from llm_atc.access import Secret
from llm_atc.errors import AtcError
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.sources.models import AllModels
from tests.hub import Hub

GGUF_LLAMA = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")


def gguf(architecture: str = "llama", size: int = 5000) -> bytes:
    """The beginning of a GGUF file of that architecture, and zeros after it."""
    key, value = b"general.architecture", architecture.encode()
    pair = len(key).to_bytes(8, "little") + key + (8).to_bytes(4, "little")
    return (GGUF_LLAMA + pair + len(value).to_bytes(8, "little") + value).ljust(size, b"\0")


def make_model(directory: Path, architecture: str = "LlamaForCausalLM") -> Path:
    """A directory that looks like a model: config.json, weights in two files, and a tokenizer's file."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {"architectures": [architecture], "model_type": "llama", "hidden_size": 8}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text("{}")
    for number in (1, 2):
        tensors = {f"layer.{number}.weight": numpy.full((64, 64), number, dtype=numpy.float32)}
        save_file(tensors, str(directory / f"model-0000{number}-of-00002.safetensors"))
    return directory


def weight_bytes(directory: Path) -> int:
    """The size of a directory's safetensors."""
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A tiny model on disk."""
    return make_model(tmp_path / "tiny-model")


@pytest.fixture(scope="session")
def google_imported() -> None:
    """Google's libraries warn, when they are first imported, of a library that is missing and not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        importlib.import_module("google.cloud.storage")


@pytest.fixture
def own_environment(
    google_imported: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty home directory, and no variable that names a cloud, a hub or a credential. The home."""
    home = tmp_path_factory.mktemp("home")
    for name in tuple(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "GCE_", "HF_", "HUGGING", "STORAGE_", "CLOUDSDK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    return home


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The address of a moto server, which speaks S3 and IAM."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def use_aws(home: Path, endpoint: str, access_key: str = "AKIATEST", secret: str = "a-secret-key") -> None:  # noqa: S107
    """Write an AWS configuration that names the endpoint, and credentials, into this home."""
    (home / "aws-config").write_text(f"[default]\nregion = us-east-1\nendpoint_url = {endpoint}\n")
    (home / "aws-credentials").write_text(
        f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret}\n"
    )


class S3Place:
    """An empty bucket of its own, and a client that looks at it from outside."""

    scheme = "s3://"

    def __init__(self, client: Any) -> None:
        self.client = client
        self.name = f"bucket-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=self.name)

    @property
    def address(self) -> str:
        """`s3://` and the bucket's name."""
        return self.scheme + self.name

    def put(self, key: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Store an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content, Metadata=dict(metadata or {}))

    def get(self, key: str) -> bytes:
        """An object's content."""
        with self.client.get_object(Bucket=self.name, Key=key)["Body"] as body:
            return bytes(body.read())

    def metadata(self, key: str) -> dict[str, str]:
        """What was recorded with an object."""
        return dict(self.client.head_object(Bucket=self.name, Key=key)["Metadata"])

    def keys(self) -> list[str]:
        """Every key."""
        return [o["Key"] for o in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]


class GcsPlace:
    """The same of Google Cloud Storage."""

    scheme = "gs://"

    def __init__(self, client: Any) -> None:
        self.client = client
        self.name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.bucket = client.create_bucket(self.name)

    @property
    def address(self) -> str:
        """`gs://` and the bucket's name."""
        return self.scheme + self.name

    def put(self, key: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Store an object."""
        blob = self.bucket.blob(key)
        blob.metadata = dict(metadata or {})
        blob.upload_from_string(content)

    def get(self, key: str) -> bytes:
        """An object's content."""
        return bytes(self.bucket.blob(key).download_as_bytes())

    def metadata(self, key: str) -> dict[str, str]:
        """What was recorded with an object."""
        return dict(self.bucket.get_blob(key).metadata or {})

    def keys(self) -> list[str]:
        """Every key."""
        return [blob.name for blob in self.client.list_blobs(self.name)]


Place = S3Place | GcsPlace


@pytest.fixture
def s3_place(own_environment: Path, moto_url: str) -> Iterator[S3Place]:
    """An empty S3 bucket; the environment points there through the user's own AWS configuration."""
    import boto3

    use_aws(own_environment, moto_url)
    client = boto3.Session().client("s3")
    yield S3Place(client)
    client.close()


@pytest.fixture(scope="session")
def gcs_url() -> Iterator[str]:
    """The address of a Google Cloud Storage emulator."""
    from gcp_storage_emulator.server import create_server  # type: ignore[import-untyped]  # no types

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    yield f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    server.stop()


@pytest.fixture
def gcs_place(own_environment: Path, gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsPlace]:
    """An empty GCS bucket; STORAGE_EMULATOR_HOST points there."""
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    client = storage.Client(project="test")
    yield GcsPlace(client)
    client.close()


@pytest.fixture(params=["s3", "gs"])
def each_bucket(request: pytest.FixtureRequest) -> Place:
    """An empty bucket, once of each cloud."""
    found: Place = request.getfixturevalue("s3_place" if request.param == "s3" else "gcs_place")
    return found


@contextlib.contextmanager
def answering(status: int, body: bytes = b"", kind: str = "application/xml") -> Iterator[str]:
    """A server that gives one answer to everything; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def closed_port() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def hub_of(own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hub]]:
    """Starts a stand-in hub that HF_ENDPOINT names: `hub_of({"org/name": path}, gated=…)`."""
    with contextlib.ExitStack() as running:

        def start(repositories: Mapping[str, Path], **options: Any) -> Hub:
            hub = running.enter_context(Hub(repositories, **options))
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            return hub

        yield start


def look(name: str, source: str | None = None, token: str | None = None) -> ModelSpec:
    """What `--name` and `--source` lead to."""
    ref = ModelRef.parse(name, source)
    return AllModels(Path("/nowhere")).look(ref, Secret(token) if token else None)


def put_directory(place: Place, directory: Path, prefix: str) -> None:
    """Store every file of a directory, without llm-atc."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            place.put(f"{prefix}{path.relative_to(directory).as_posix()}", path.read_bytes())


@contextlib.contextmanager
def refused(kind: type[AtcError], *, says: str, hints: str, within: float = 60) -> Iterator[None]:
    """The block raises exactly this kind of error, with these words, in so many seconds."""
    started = time.monotonic()
    with pytest.raises(kind) as raised:
        yield
    assert time.monotonic() - started < within
    assert type(raised.value) is kind
    assert re.search(says, raised.value.message), raised.value.message
    assert raised.value.hint is not None
    assert hints in raised.value.hint
