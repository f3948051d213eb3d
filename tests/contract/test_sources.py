"""Looking at models: what is told of them, and what is said when that does not go."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_atc.access import Secret
from llm_atc.errors import AtcError, ModelGated, ModelNotFound, ModelUnservable, SourceError
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Runner
from llm_atc.plan.progress import Stage
from llm_atc.sources.models import AllModels
from tests.hub import Hub
from tests.source_fixtures import (
    GcsPlace,
    Place,
    S3Place,
    answering,
    closed_port,
    gguf,
    make_model,
    silent,
    use_aws,
    weight_bytes,
)

HubOf = Callable[..., Hub]
# Ten seconds are promised; a busy machine imports the clouds' libraries in the same time.
IMPATIENT = 15
S3_FORBIDDEN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message>'
    b"<RequestId>1</RequestId></Error>"
)


def look(name: str, source: str | None = None, token: str | None = None) -> ModelSpec:
    ref = ModelRef.parse(name, source)
    return AllModels(Path("/nowhere")).look(ref, Secret(token) if token else None)


def put_directory(place: Place, directory: Path, prefix: str) -> None:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            place.put(f"{prefix}{path.relative_to(directory).as_posix()}", path.read_bytes())


@contextmanager
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


# --- disk


def test_a_directory_tells_architecture_and_size(model_directory: Path) -> None:
    (model_directory / "pytorch_model.bin").write_bytes(b"the same weights once more")
    (model_directory / "original").mkdir()
    (model_directory / "original" / "consolidated.00.pth").write_bytes(b"and once more")
    (model_directory / "consolidated.safetensors").write_bytes(b"and again")
    spec = look(str(model_directory))
    assert spec.looked
    assert (spec.format, spec.runner) == (Format.HUGGING_FACE, Runner.GENERATE)
    assert spec.architecture == "LlamaForCausalLM"
    assert spec.bytes == sum(path.stat().st_size for path in model_directory.glob("model-*.safetensors"))
    assert spec.ref.location == str(model_directory)


def test_a_path_may_be_relative_or_below_home(
    own_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(own_environment / "mine")
    monkeypatch.chdir(own_environment)
    assert look("./mine").ref.location == look("~/mine").ref.location == str(own_environment / "mine")


@pytest.mark.parametrize(
    ("architecture", "runner"),
    [
        ("BertModel", Runner.POOLING),
        ("XLMRobertaModel", Runner.POOLING),
        ("LlamaModel", Runner.POOLING),
        ("Qwen3ForTextEmbedding", Runner.POOLING),
        ("Qwen3ForCausalLM", Runner.GENERATE),
        ("Gemma3ForConditionalGeneration", Runner.GENERATE),
        ("GPT2LMHeadModel", Runner.GENERATE),
        ("ChatGLMModel", Runner.GENERATE),
        ("InternVLChatModel", Runner.GENERATE),
    ],
)
def test_encoders_pool_and_the_others_generate(tmp_path: Path, architecture: str, runner: Runner) -> None:
    assert look(str(make_model(tmp_path / "m", architecture))).runner is runner


@pytest.mark.parametrize("marker", ["modules.json", "1_Pooling/config.json"])
def test_a_sentence_transformer_pools_whatever_its_architecture(model_directory: Path, marker: str) -> None:
    (model_directory / marker).parent.mkdir(exist_ok=True)
    (model_directory / marker).write_text("[]")
    assert look(str(model_directory)).runner is Runner.POOLING


def test_a_split_gguf_is_its_first_part_and_the_size_of_all(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"tiny-Q8_0-0000{number}-of-00003.gguf").write_bytes(gguf(size=1000 * number))
    spec = look(str(tmp_path))
    assert (spec.format, spec.architecture) == (Format.GGUF, "llama")
    assert spec.file == "tiny-Q8_0-00001-of-00003.gguf"
    assert spec.bytes == 6000


def test_of_several_quantizations_q4_k_m_is_taken_and_never_a_projector(tmp_path: Path) -> None:
    for name in ("a-F16.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-Q4_K_M.gguf"):
        (tmp_path / name).write_bytes(gguf())
    assert look(str(tmp_path)).file == "a-Q4_K_M.gguf"


def test_a_gguf_file_by_itself_is_its_folder_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf())
    (tmp_path / "b.gguf").write_bytes(gguf("bert"))
    spec = look(str(tmp_path / "b.gguf"))
    assert (spec.ref.location, spec.file, spec.runner) == (str(tmp_path), "b.gguf", Runner.POOLING)


def test_gguf_is_told_by_its_first_bytes_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(gguf())
    (tmp_path / "notes.txt").write_bytes(b"x" * 9000)
    assert look(str(tmp_path)).file == "weights"


def test_weights_in_gguf_go_before_a_configuration_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.gguf").write_bytes(gguf())
    assert look(str(tmp_path)).format is Format.GGUF


def test_an_absent_directory_is_not_found(tmp_path: Path) -> None:
    with refused(ModelNotFound, says="There is no directory .*/absent", hints=f"ls {tmp_path}"):
        look(str(tmp_path / "absent"))


def test_an_unreadable_directory_is_said_to_be_so(tmp_path: Path) -> None:
    # Root may read everything, so what cannot be read here is a name that is too long, and a loop of links.
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with refused(SourceError, says="cannot be read", hints="ls -la"):
        look(str(tmp_path / "loop"))
    with refused(SourceError, says="cannot be read", hints="ls -la"):
        look(str(tmp_path / ("x" * 300)))


@pytest.mark.parametrize("content", ["<html>not found</html>", "[1]", ""])
def test_a_configuration_that_is_not_json_is_said_to_be_so(model_directory: Path, content: str) -> None:
    (model_directory / "config.json").write_text(content)
    with refused(ModelUnservable, says=r"config\.json .* is not JSON", hints="llm-atc checkpoints ls /"):
        look(str(model_directory))


def test_a_configuration_without_weights_lists_what_is_there(model_directory: Path) -> None:
    for path in model_directory.glob("*.safetensors"):
        path.unlink()
    (model_directory / "training_args.bin").write_bytes(b"no weights")
    says = r"no weights .*There is: config\.json, tokenizer\.json, training_args\.bin"
    with refused(ModelUnservable, says=says, hints="llm-atc checkpoints ls"):
        look(str(model_directory))


def test_a_directory_of_anything_else_lists_some_of_it(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"photo{number}.jpg").write_bytes(b"\xff\xd8\xff")
    says = r"neither config\.json nor a GGUF file.*photo0\.jpg, .*photo4\.jpg and 3 more"
    with refused(ModelUnservable, says=says, hints="llm-atc checkpoints ls"):
        look(str(tmp_path))


def test_a_gguf_file_that_is_none_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with refused(ModelUnservable, says=r"a\.gguf .* is no GGUF file", hints="llm-atc checkpoints ls"):
        look(str(tmp_path))


def test_an_adapter_alone_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    with refused(ModelUnservable, says="LoRA adapter", hints="--enable-lora"):
        look(str(tmp_path))


# --- buckets, both clouds


def test_a_bucket_tells_the_same_as_the_directory_it_was_copied_from(
    each_bucket: Place, model_directory: Path
) -> None:
    put_directory(each_bucket, model_directory, "models/tiny/")
    put_directory(each_bucket, model_directory, "models/tiny-other/")
    spec = look("llm-atc/tiny", f"{each_bucket.address}/models/tiny/")
    on_disk = look(str(model_directory))
    assert spec == replace(on_disk, ref=ModelRef.parse("llm-atc/tiny", f"{each_bucket.address}/models/tiny"))
    assert spec.bytes == weight_bytes(model_directory)


def test_a_whole_bucket_may_be_one_model(each_bucket: Place, model_directory: Path) -> None:
    put_directory(each_bucket, model_directory, "")
    assert look("llm-atc/tiny", each_bucket.address).architecture == "LlamaForCausalLM"


def test_gguf_in_a_bucket_is_told_by_its_first_bytes(each_bucket: Place) -> None:
    each_bucket.put("m/tiny.gguf", gguf("qwen3", size=20_000))
    spec = look("llm-atc/tiny", f"{each_bucket.address}/m/")
    assert (spec.format, spec.architecture, spec.file) == (Format.GGUF, "qwen3", "tiny.gguf")
    assert spec.bytes == 20_000
    alone = look("llm-atc/tiny", f"{each_bucket.address}/m/tiny.gguf")
    assert (alone.ref.location, alone.file) == (f"{each_bucket.address}/m", "tiny.gguf")


def test_an_empty_prefix_is_said_to_be_empty(each_bucket: Place) -> None:
    each_bucket.put("models/tiny-other/config.json", b"{}")
    says = rf"Nothing lies at {each_bucket.address}/models/tiny\."
    with refused(SourceError, says=says, hints=f"llm-atc checkpoints ls {each_bucket.address}/models"):
        look("llm-atc/tiny", f"{each_bucket.address}/models/tiny")


def test_a_missing_bucket_is_said_to_be_missing(each_bucket: Place) -> None:
    hints = "aws s3 ls" if each_bucket.scheme == "s3://" else "gcloud storage ls"
    with refused(SourceError, says="There is no bucket .*no-such-bucket-4711", hints=hints):
        look("llm-atc/tiny", f"{each_bucket.scheme}no-such-bucket-4711/tiny")


def test_a_bucket_of_anything_else_lists_some_of_it(each_bucket: Place) -> None:
    each_bucket.put("m/readme.txt", b"hello")
    each_bucket.put("m/empty", b"")
    with refused(ModelUnservable, says=r"There is: empty, readme\.txt", hints="llm-atc checkpoints ls"):
        look("llm-atc/tiny", f"{each_bucket.address}/m")


# --- S3 alone


def test_s3_without_permission_is_said_to_be_forbidden(own_environment: Path) -> None:
    with answering(403, S3_FORBIDDEN) as endpoint:
        use_aws(own_environment, endpoint)
        says = r"These credentials may not read or write s3://mine\."
        with refused(SourceError, says=says, hints="aws sts get-caller-identity"):
            look("llm-atc/tiny", "s3://mine/tiny")


@pytest.fixture
def guarded(moto_url: str) -> Iterator[None]:
    """The moto server checks signatures and policies from here on, as AWS does."""
    from moto import settings
    from moto.core.responses import ActionAuthenticatorMixin

    # moto's own decorator does the same for one function: here it is to begin after the set-up.
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT, ActionAuthenticatorMixin.request_count
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    yield
    settings.INITIAL_NO_AUTH_ACTION_COUNT, ActionAuthenticatorMixin.request_count = before


def test_an_iam_user_without_a_policy_may_not_look(
    s3_place: S3Place, own_environment: Path, moto_url: str, request: pytest.FixtureRequest
) -> None:
    import boto3

    iam = boto3.Session().client("iam")
    iam.create_user(UserName=s3_place.name)
    key = iam.create_access_key(UserName=s3_place.name)["AccessKey"]
    iam.close()
    use_aws(own_environment, moto_url, key["AccessKeyId"], key["SecretAccessKey"])
    request.getfixturevalue("guarded")
    with refused(SourceError, says="may not read or write", hints="aws sts get-caller-identity"):
        look("llm-atc/tiny", f"{s3_place.address}/tiny")


def test_an_unknown_access_key_is_said_to_be_unknown_and_not_shown(
    s3_place: S3Place, own_environment: Path, moto_url: str, guarded: None
) -> None:
    use_aws(own_environment, moto_url, "AKIAUNKNOWN", "do-not-show-me")
    with pytest.raises(SourceError, match="not known there") as raised:
        look("llm-atc/tiny", f"{s3_place.address}/tiny")
    assert "do-not-show-me" not in f"{raised.value!r} {raised.value.hint} {raised.value.__cause__!r}"


def test_s3_without_credentials_says_so(own_environment: Path) -> None:
    with refused(SourceError, says="there are no AWS credentials", hints="aws configure"):
        look("llm-atc/tiny", "s3://mine/tiny")


def test_an_unknown_profile_is_named(own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "research")
    with refused(SourceError, says="research", hints="aws configure list-profiles"):
        look("llm-atc/tiny", "s3://mine/tiny")


def test_a_profile_and_its_endpoint_are_honoured(
    s3_place: S3Place, own_environment: Path, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_place.put("m/a.gguf", gguf())
    (own_environment / "aws-config").write_text(
        f"[default]\nendpoint_url = {closed_port()}\n[profile lab]\nendpoint_url = {moto_url}\n"
    )
    (own_environment / "aws-credentials").write_text(
        "[lab]\naws_access_key_id = A\naws_secret_access_key = B\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert look("llm-atc/tiny", f"{s3_place.address}/m").format is Format.GGUF


def test_an_s3_endpoint_where_nothing_listens_is_out_of_reach(own_environment: Path) -> None:
    endpoint = closed_port()
    use_aws(own_environment, endpoint)
    with refused(SourceError, says=f"out of reach: {endpoint} does not answer", hints="endpoint_url"):
        look("llm-atc/tiny", "s3://mine/tiny")


@pytest.mark.slow
def test_an_s3_endpoint_that_never_answers_is_given_up(own_environment: Path) -> None:
    with silent() as endpoint:
        use_aws(own_environment, endpoint)
        with refused(SourceError, says="out of reach", hints="endpoint_url", within=IMPATIENT):
            look("llm-atc/tiny", "s3://mine/tiny")


# --- Google Cloud Storage alone


@pytest.mark.parametrize(
    ("status", "says", "hints"),
    [
        (403, "These credentials may not read or write gs://mine", "gcloud auth list"),
        (401, "there are no Google Cloud credentials", "gcloud auth application-default login"),
        (418, "answered HTTP 418", "gcloud storage ls"),
    ],
)
def test_a_refusal_of_google_says_what_was_refused(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch, status: int, says: str, hints: str
) -> None:
    body = json.dumps({"error": {"code": status, "message": "no"}}).encode()
    with answering(status, body, "application/json") as endpoint:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        with refused(SourceError, says=says, hints=hints):
            look("llm-atc/tiny", "gs://mine/tiny")


def test_google_without_credentials_says_so(own_environment: Path) -> None:
    with refused(
        SourceError, says="there are no Google Cloud credentials", hints="gcloud auth application-default"
    ):
        look("llm-atc/tiny", "gs://mine/tiny")


def service_account(home: Path, token_uri: str) -> str:
    """A service account's file, whose tokens come from this address; the file's path."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = home / "service-account.json"
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": key.decode(),
        "client_email": "me@p.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(account))
    return str(path)


def test_a_service_account_that_google_refuses_is_said_to_be_so_without_its_answer(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"error": "invalid_grant", "error_description": "do-not-show-me"}).encode()
    with answering(400, body, "application/json") as endpoint:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(own_environment, endpoint))
        with pytest.raises(SourceError, match=r"credentials do not work \(RefreshError\)") as raised:
            look("llm-atc/tiny", "gs://mine/tiny")
    assert "do-not-show-me" not in f"{raised.value} {raised.value.hint}"


def test_a_token_that_google_storage_does_not_accept_is_said_to_be_so(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = json.dumps({"access_token": "do-not-show-me", "expires_in": 3600}).encode()
    with answering(200, token, "application/json") as tokens, answering(401, b"{}") as storage:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(own_environment, tokens))
        monkeypatch.setenv("API_ENDPOINT_OVERRIDE", storage)
        with pytest.raises(SourceError, match="does not accept the credentials") as raised:
            look("llm-atc/tiny", "gs://mine/tiny")
    assert "do-not-show-me" not in f"{raised.value} {raised.value.hint}"


def test_a_google_endpoint_where_nothing_listens_is_out_of_reach(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = closed_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
    with refused(SourceError, says=f"out of reach: {endpoint} does not answer", hints="gcloud info"):
        look("llm-atc/tiny", "gs://mine/tiny")


@pytest.mark.slow
def test_a_google_endpoint_that_never_answers_is_given_up(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent() as endpoint:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        with refused(SourceError, says="out of reach", hints="gcloud info", within=IMPATIENT):
            look("llm-atc/tiny", "gs://mine/tiny")


# --- the hub


def test_the_hub_tells_all_and_its_commit_and_sends_no_weights(hub_of: HubOf, model_directory: Path) -> None:
    hub = hub_of({"org/tiny": model_directory})
    spec = look("org/tiny")
    assert (spec.architecture, spec.bytes) == ("LlamaForCausalLM", weight_bytes(model_directory))
    assert spec.revision == hub.repositories["org/tiny"].sha
    assert [path for _, path in hub.requests if "safetensors" in path] == []


def test_gguf_on_the_hub(hub_of: HubOf, tmp_path: Path) -> None:
    (tmp_path / "tiny-Q4_K_M.gguf").write_bytes(gguf("llama", size=300_000))
    hub_of({"org/tiny-GGUF": tmp_path})
    spec = look("org/tiny-GGUF")
    assert (spec.format, spec.file, spec.bytes) == (Format.GGUF, "tiny-Q4_K_M.gguf", 300_000)


def test_an_absent_repository_is_not_found(hub_of: HubOf) -> None:
    hub_of({})
    with refused(ModelNotFound, says="No model 'org/absent' on the hub", hints="search=absent"):
        look("org/absent")
    with refused(ModelNotFound, says="No model 'org/absent' on the hub", hints="--secret HF_TOKEN"):
        look("org/absent", token="hf_some")


def test_a_name_that_no_repository_can_have_is_not_found(hub_of: HubOf) -> None:
    hub_of({})
    with refused(ModelNotFound, says="cannot be a repository's name", hints="--name"):
        look("org/bad--name..git")


def test_a_gated_model_opens_to_its_token_alone(
    hub_of: HubOf, model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_of({"org/gated": model_directory}, gated={"org/gated": "hf_right"})
    with refused(ModelGated, says="gated: it needs a token", hints="--secret HF_TOKEN"):
        look("org/gated")
    with refused(ModelGated, says="owner has not been given access", hints="ask for access"):
        look("org/gated", token="hf_wrong")
    assert look("org/gated", token="hf_right").looked
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert look("org/gated").looked


def test_a_private_model_opens_to_its_token_alone(hub_of: HubOf, model_directory: Path) -> None:
    hub_of({"org/private": model_directory}, private={"org/private": "hf_right"})
    with refused(ModelNotFound, says="or it is private", hints="--secret HF_TOKEN"):
        look("org/private")
    assert look("org/private", token="hf_right").looked


def test_a_token_that_is_refused_is_not_shown(hub_of: HubOf, model_directory: Path) -> None:
    hub_of({"org/tiny": model_directory}, refused={"hf_revoked"})
    with pytest.raises(SourceError, match="does not accept the token") as raised:
        look("org/tiny", token="hf_revoked")
    assert "hf_revoked" not in f"{raised.value!r} {raised.value.hint} {raised.value.__cause__!r}"


def test_a_hub_where_nothing_listens_is_out_of_reach(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = closed_port()
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with refused(SourceError, says=f"out of reach: {endpoint}", hints=f"curl -sSI {endpoint}"):
        look("org/tiny")


def test_a_hub_that_is_broken_is_said_to_be_so(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(503) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with refused(SourceError, says="answered HTTP 503", hints="curl"):
            look("org/tiny")


def test_a_hub_that_answers_with_a_page_is_said_to_be_none(
    own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200, b"<html>log in to the hotel's network</html>", "text/html") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with refused(SourceError, says="not a model hub", hints="curl"):
            look("org/tiny")


# --- fetching


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.lines: list[str] = []
        self.notes: list[str] = []

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


def fetch(home: Path, name: str, source: str | None = None) -> tuple[str, Told]:
    models, told = AllModels(home), Told()
    return models.fetch(models.look(ModelRef.parse(name, source), None), told), told


def test_a_hub_model_is_loaded_by_its_name(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub_of({"org/tiny": model_directory})
    assert fetch(tmp_path, "org/tiny")[0] == "org/tiny"


def test_a_directory_is_loaded_where_it_is(model_directory: Path, tmp_path: Path) -> None:
    assert fetch(tmp_path, str(model_directory))[0] == str(model_directory)
    (tmp_path / "a.gguf").write_bytes(gguf())
    assert fetch(tmp_path, str(tmp_path / "a.gguf"))[0] == str(tmp_path / "a.gguf")


def test_a_bucket_s_checkpoint_is_copied_once(
    each_bucket: Place, model_directory: Path, tmp_path: Path
) -> None:
    put_directory(each_bucket, model_directory, "m/")
    found, told = fetch(tmp_path, "llm-atc/tiny", f"{each_bucket.address}/m")
    assert Path(found).parent == tmp_path / "models"
    assert Path(found).name.startswith("tiny-")
    names = sorted(path.name for path in model_directory.iterdir())
    assert sorted(path.name for path in Path(found).iterdir()) == names
    assert told.stages == [Stage.WEIGHTS]
    assert len(told.notes) == 1
    again, told = fetch(tmp_path, "llm-atc/tiny", f"{each_bucket.address}/m")
    assert (again, told.notes) == (found, [])


def test_a_copy_follows_what_the_bucket_removes(s3_place: S3Place, tmp_path: Path) -> None:
    s3_place.put("m/old.gguf", gguf())
    found, _ = fetch(tmp_path, "llm-atc/tiny", f"{s3_place.address}/m")
    assert Path(found).name == "old.gguf"
    s3_place.client.delete_object(Bucket=s3_place.name, Key="m/old.gguf")
    s3_place.put("m/new.gguf", gguf(size=6000))
    found, _ = fetch(tmp_path, "llm-atc/tiny", f"{s3_place.address}/m")
    assert [path.name for path in Path(found).parent.iterdir()] == ["new.gguf"]


def test_two_addresses_with_one_name_are_kept_apart(
    s3_place: S3Place, gcs_place: GcsPlace, tmp_path: Path
) -> None:
    for place in (s3_place, gcs_place):
        place.put("m/a.gguf", gguf())
    first, _ = fetch(tmp_path, "llm-atc/tiny", f"{s3_place.address}/m")
    second, _ = fetch(tmp_path, "llm-atc/tiny", f"{gcs_place.address}/m")
    assert first != second


def test_importing_the_sources_imports_no_cloud() -> None:
    code = (
        "import sys, llm_atc.sources.models, llm_atc.sources.transfer, llm_atc.cli.checkpoints;"
        "print([m for m in ('boto3', 'botocore', 'google.cloud', 'huggingface_hub', 'httpx', 'requests')"
        " if m in sys.modules])"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
