"""A model's name and place, read from --name and --source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.errors import UsageError
from llm_atc.plan.model import ModelRef, Where


@pytest.mark.parametrize(
    ("name", "source", "ref"),
    [
        ("Qwen/Qwen3-0.6B", None, ("Qwen/Qwen3-0.6B", Where.HUB, "Qwen/Qwen3-0.6B")),
        ("gpt2", None, ("gpt2", Where.HUB, "gpt2")),
        (" gpt2 ", None, ("gpt2", Where.HUB, "gpt2")),
        ("llm-atc/tiny", "s3://b/tiny/", ("llm-atc/tiny", Where.S3, "s3://b/tiny")),
        ("llm-atc/tiny", "gs://b/a/tiny", ("llm-atc/tiny", Where.GCS, "gs://b/a/tiny")),
        ("llm-atc/tiny", "~/tiny", ("llm-atc/tiny", Where.DISK, "~/tiny")),
        ("s3://b/a/tiny/", None, ("llm-atc/tiny", Where.S3, "s3://b/a/tiny")),
        ("gs://b", None, ("llm-atc/b", Where.GCS, "gs://b")),
        ("/models/tiny/", None, ("tiny", Where.DISK, "/models/tiny/")),
        ("./tiny", None, ("tiny", Where.DISK, "./tiny")),
        ("../tiny", None, ("tiny", Where.DISK, "../tiny")),
        ("~/tiny.gguf", None, ("tiny.gguf", Where.DISK, "~/tiny.gguf")),
        ("Qwen/Qwen3-0.6B", "s3://b/copy", ("Qwen/Qwen3-0.6B", Where.S3, "s3://b/copy")),
    ],
)
def test_a_model_is_read_by_name_and_place(
    name: str, source: str | None, ref: tuple[str, Where, str]
) -> None:
    read = ModelRef.parse(name, source)
    assert (read.name, read.where, read.location) == ref


@pytest.mark.parametrize("name", ["", "  ", "a b", "a\nb", "--model", "-x", "a\x1b[31m", "a\u202eb"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a model's name"):
        ModelRef.parse(name)


@pytest.mark.parametrize("name", ["a/b/c", "a/b/", "https://huggingface.co/a/b", "azure://b/c"])
def test_what_is_neither_repository_nor_path_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is neither a repository"):
        ModelRef.parse(name)


def test_an_own_checkpoint_needs_its_source() -> None:
    with pytest.raises(UsageError, match="say where it lies") as caught:
        ModelRef.parse("llm-atc/tiny")
    assert caught.value.hint is not None
    assert "--source s3://" in caught.value.hint


@pytest.mark.parametrize("source", ["", "bucket/path", "https://b/c", "azure://b/c", "http:/x"])
def test_a_source_that_cannot_be_read_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="is not an address that llm-atc can read"):
        ModelRef.parse("llm-atc/tiny", source)


@pytest.mark.parametrize("source", ["s3://", "gs:///", "s3:// "])
def test_a_source_without_a_bucket_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        ModelRef.parse("llm-atc/tiny", source)


@given(st.text() | st.sampled_from(["/", "~", ".", "..", "./", "~/", "s3:///", "gs://"]))
def test_any_name_is_read_or_refused_as_the_users_mistake(name: str) -> None:
    try:
        ref = ModelRef.parse(name)
    except UsageError:
        return
    assert ref.name.isprintable()
    assert " " not in ref.name
    assert ref.name, f"{name!r} was read as a model without a name"
