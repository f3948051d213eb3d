"""Looking at models in buckets: what is told of them, and what is said when that does not go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llm_atc.errors import ModelUnservable, SourceError
from llm_atc.plan.model import Format, ModelRef
from tests.source_fixtures import (
    Place,
    S3Place,
    answering,
    closed_port,
    gguf,
    look,
    put_directory,
    refused,
    silent,
    use_aws,
    weight_bytes,
)

# Ten seconds are promised; a busy machine imports the clouds' libraries in the same time.
IMPATIENT = 15
S3_FORBIDDEN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message>'
    b"<RequestId>1</RequestId></Error>"
)


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
