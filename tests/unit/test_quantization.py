"""Several quantizations in one place: how each is called, and which is taken."""

from __future__ import annotations

import pytest

from llm_atc.errors import ModelUnservable
from llm_atc.plan.checkpoint import read_checkpoint
from llm_atc.plan.engine import Machine
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.plan import make_plan
from llm_atc.plan.quantization import chosen, parts_of, quantization_of, quantizations
from llm_atc.plan.request import Request, name_for

SPLIT = tuple(f"Q8_0/m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3))
FILES = (
    "m-BF16.gguf",
    "m-Q2_K.gguf",
    "m-Q4_K_M.gguf",
    *SPLIT,
    "m-UD-Q4_K_XL.gguf",
    "mmproj-F16.gguf",
    "README.md",
)


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("model.IQ2_XXS.gguf", "IQ2_XXS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("BF16/model-00001-of-00004.gguf", "BF16"),
        ("UD-Q4_K_XL/a-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("gemma-3-4b-it-q4_0.gguf", "Q4_0"),
        ("Qwen3-30B-A3B-TQ1_0.gguf", "TQ1_0"),
        ("ggml-model-f16.gguf", "F16"),
        ("Qwen3.gguf", "Qwen3"),
        ("folder/ggml-model.gguf", "ggml-model"),
    ],
)
def test_a_quantization_is_called_by_what_the_file_s_name_says(file: str, label: str) -> None:
    assert quantization_of(file) == label


def test_the_best_choice_stands_first_and_projectors_nowhere() -> None:
    assert quantizations(FILES) == ("Q4_K_M", "Q8_0", "BF16", "Q2_K", "UD-Q4_K_XL")


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        (None, "m-Q4_K_M.gguf"),
        ("q2_k", "m-Q2_K.gguf"),
        ("Q8_0", SPLIT[0]),
        ("Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        ("m-Q2_K", "m-Q2_K.gguf"),
        ("m-q8_0", SPLIT[0]),
        ("Q4", None),
        ("F16", None),
    ],
)
def test_the_one_that_was_asked_for_is_taken(asked: str | None, file: str | None) -> None:
    assert chosen(FILES, asked) == file


def test_a_set_is_all_its_parts_and_no_other_s() -> None:
    other = "Q8_0/n-Q8_0-00001-of-00003.gguf"
    assert parts_of(SPLIT[0], (*FILES, other)) == SPLIT
    assert parts_of("m-Q2_K.gguf", FILES) == ("m-Q2_K.gguf",)


def read(name: str, files: tuple[str, ...] = FILES) -> ModelSpec:
    return read_checkpoint(ModelRef.parse(name), dict.fromkeys(files, 10), lambda _, length: b"GGUF"[:length])


def test_without_a_wish_the_pick_and_the_others_are_told() -> None:
    spec = read("me/m-GGUF")
    assert (spec.file, spec.bytes) == ("m-Q4_K_M.gguf", 10)
    plan = make_plan(Request(model="x", place=Place(cloud="local")), spec, Machine(cpus=1, memory=1))
    assert plan.notes == (
        "Of its quantizations Q4_K_M is taken; there are also Q8_0, BF16, Q2_K, UD-Q4_K_XL "
        "(such as me/m-GGUF:Q8_0).",
    )


def test_a_wish_is_followed_in_silence_and_names_deployment_and_model() -> None:
    spec = read("me/m-GGUF:Q8_0")
    assert (spec.file, spec.bytes) == (SPLIT[0], 30)
    plan = make_plan(Request(model="x", place=Place(cloud="local")), spec, Machine(cpus=1, memory=1))
    assert (plan.name, plan.notes) == ("m-gguf-q8_0".replace("_", "-"), ())
    assert plan.arguments[:2] == ("--alias", "me/m-GGUF:Q8_0")


def test_an_absent_quantization_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(
        ModelUnservable, match=r"no quantization Q3_K\. It has: Q4_K_M, Q8_0, BF16, Q2_K"
    ) as raised:
        read("me/m-GGUF:Q3_K")
    assert raised.value.hint == "--name me/m-GGUF:Q4_K_M"


def test_a_quantization_of_what_is_no_gguf_is_refused() -> None:
    with pytest.raises(ModelUnservable, match="holds no GGUF file, and so no quantization Q4_K_M"):
        read("me/m:Q4_K_M", ("config.json", "model.safetensors"))


def test_a_quantization_goes_before_weights_of_another_format() -> None:
    assert read("me/m:Q2_K", ("config.json", "model.safetensors", *FILES)).format is Format.GGUF


def test_a_set_without_its_end_is_refused() -> None:
    with pytest.raises(ModelUnservable, match=r"is not complete: .* are but 2 parts"):
        read("me/m:Q8_0", SPLIT[:2])


def test_a_deployment_s_name_has_no_colon() -> None:
    assert name_for("me/m-GGUF:Q4_K_M") == "m-gguf-q4-k-m"
