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
        ("me/m@main", None, ("me/m", Where.HUB, "me/m")),
        ("./odd:name", None, ("odd:name", Where.DISK, "./odd:name")),
    ],
)
def test_a_model_is_read_by_name_and_place(
    name: str, source: str | None, ref: tuple[str, Where, str]
) -> None:
    read = ModelRef.parse(name, source)
    assert (read.name, read.where, read.location) == ref


@pytest.mark.parametrize(
    ("name", "source", "ref"),
    [
        ("me/m-GGUF:Q4_K_M", None, ("me/m-GGUF:Q4_K_M", "me/m-GGUF", None, "Q4_K_M")),
        ("me/m@refs/pr/3:UD-Q4_K_XL", None, ("me/m:UD-Q4_K_XL", "me/m", "refs/pr/3", "UD-Q4_K_XL")),
        ("gpt2@607a30d", None, ("gpt2", "gpt2", "607a30d", None)),
        ("./dir:q8_0", None, ("dir:q8_0", "./dir", None, "q8_0")),
        ("~/a/dir/:BF16", None, ("dir:BF16", "~/a/dir/", None, "BF16")),
        ("s3://b/m:IQ2_XXS", None, ("llm-atc/m:IQ2_XXS", "s3://b/m", None, "IQ2_XXS")),
        ("llm-atc/m", "gs://b/m:Q4_0", ("llm-atc/m", "gs://b/m", None, "Q4_0")),
    ],
)
def test_a_revision_and_a_quantization_are_named_with_the_model(
    name: str, source: str | None, ref: tuple[str, str, str | None, str | None]
) -> None:
    read = ModelRef.parse(name, source)
    assert (read.name, read.location, read.revision, read.quantization) == ref


def test_a_revision_may_stand_beside_the_name() -> None:
    assert ModelRef.parse("me/m:Q8_0", revision="v1") == ModelRef.parse("me/m@v1:Q8_0")
    assert ModelRef.parse("me/m@v1", revision="v1") == ModelRef.parse("me/m@v1")
    with pytest.raises(UsageError, match="name two revisions"):
        ModelRef.parse("me/m@v1", revision="v2")
    with pytest.raises(UsageError, match="is for a hub's model"):
        ModelRef.parse("./dir", revision="v1")
    with pytest.raises(UsageError, match="is neither a repository"):
        ModelRef.parse("me/m", revision="a b")


LABELS = st.from_regex(r"(UD-)?I?Q[2-8]_(K_[SML]|[01]|XXS)|BF16|F16|F32|MXFP4", fullmatch=True)
REVISIONS = st.from_regex(r"[a-z0-9][a-z0-9./-]{0,30}", fullmatch=True)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
REFS = st.one_of(
    st.builds(
        lambda owner, name, revision, label: (f"{owner}/{name}", revision, label),
        NAMES, NAMES, st.none() | REVISIONS, st.none() | LABELS,
    ),
    st.builds(
        lambda start, name, label: (f"{start}{name}", None, label),
        st.sampled_from(["/", "./", "../", "~/", "s3://b/", "gs://b/c/"]), NAMES, st.none() | LABELS,
    ),
)  # fmt: skip


@given(REFS)
def test_what_is_printed_of_a_model_is_read_as_the_same_model(
    parts: tuple[str, str | None, str | None],
) -> None:
    place, revision, label = parts
    text = place + (f"@{revision}" if revision else "") + (f":{label}" if label else "")
    ref = ModelRef.parse(text)
    assert (ref.location, ref.revision, ref.quantization) == (place, revision, label)
    assert str(ref) == text
    assert ModelRef.parse(str(ref)) == ref


@pytest.mark.parametrize("name", ["", "  ", "a b", "a\nb", "--model", "-x", "a\x1b[31m", "a\u202eb"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a model's name"):
        ModelRef.parse(name)


@pytest.mark.parametrize(
    "name",
    ["a/b/c", "a/b/", "https://huggingface.co/a/b", "azure://b/c", "a/b:", "a/b@", "a/b:Q4@main", "a/b@:Q4"],
)
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
