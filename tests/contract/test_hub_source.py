"""Looking at models on the hub: what is told of them, and what is said when that does not go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_atc.errors import ModelGated, ModelNotFound, SourceError
from llm_atc.plan.model import Format
from tests.hub import Hub
from tests.source_fixtures import (
    answering,
    closed_port,
    gguf,
    look,
    refused,
    weight_bytes,
)

HubOf = Callable[..., Hub]


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


def test_one_of_several_quantizations_is_named_with_the_repository(hub_of: HubOf, tmp_path: Path) -> None:
    for label, size in (("Q2_K", 11_000), ("Q4_K_M", 12_000)):
        (tmp_path / f"tiny-{label}.gguf").write_bytes(gguf(size=size))
    hub_of({"org/tiny-GGUF": tmp_path})
    spec = look("org/tiny-GGUF:q2_k")
    assert (spec.ref.name, spec.file, spec.bytes) == ("org/tiny-GGUF:q2_k", "tiny-Q2_K.gguf", 11_000)


def test_a_revision_is_pinned_to_its_commit_and_an_absent_one_not_found(
    hub_of: HubOf, model_directory: Path
) -> None:
    sha = hub_of({"org/tiny": model_directory}).repositories["org/tiny"].sha
    assert look("org/tiny@main").revision == look(f"org/tiny@{sha}").revision == sha
    with refused(ModelNotFound, says="org/tiny has no revision 'v9'", hints="/commits/main"):
        look("org/tiny@v9")


def test_an_absent_repository_is_not_found(hub_of: HubOf) -> None:
    hub_of({})
    with refused(ModelNotFound, says="No model 'org/absent' on the hub", hints="search=absent"):
        look("org/absent")
    with refused(ModelNotFound, says="No model 'org/absent' on the hub", hints="--secret HF_TOKEN"):
        look("org/absent", token="hf_some")


def test_a_name_without_a_repository_is_taken_for_what_lies_here(
    hub_of: HubOf, model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_directory.parent)
    hub_of({})
    with refused(ModelNotFound, says=f"No model '{model_directory.name}'", hints=f"./{model_directory.name}"):
        look(model_directory.name)


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
