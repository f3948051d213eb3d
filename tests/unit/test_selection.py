"""Which files of a checkpoint are brought: each weight once."""

from __future__ import annotations

import pytest

from llm_atc.errors import ModelError
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.selection import is_complete, needed, picked

REF = ModelRef.parse("me/m")
SAFE = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
PLAIN = (
    "LICENSE",
    "README.md",
    "config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
)


def names(*files: str, spec: ModelSpec | None = None) -> set[str]:
    return set(needed(dict.fromkeys(files, 10), spec or ModelSpec(ref=REF, looked=True)))


def test_safetensors_come_without_what_holds_the_same_weights() -> None:
    others = (
        "pytorch_model-00001-of-00002.bin", "consolidated.safetensors", "consolidated.00.pth",
        "flax_model.msgpack",
        "tf_model.h5", "rust_model.ot", "onnx/model.onnx", "onnx/model.onnx_data", "original/params.json",
        "original/consolidated.00.pth", "m-Q4_K_M.gguf", "optimizer.pt", "training_args.bin",
        ".gitattributes",
        "coreml/model.mlpackage/Data/weights.bin", "openvino_model.xml",
    )  # fmt: skip
    assert names(*PLAIN, *SAFE, *others) == {*PLAIN, *SAFE}


def test_without_safetensors_come_those_of_pytorch() -> None:
    assert names(*PLAIN, "pytorch_model.bin", "tf_model.h5", "training_args.bin") == {
        *PLAIN,
        "pytorch_model.bin",
    }


def test_mistral_s_own_format_comes_where_it_is_alone() -> None:
    files = ("params.json", "tekken.json", "consolidated.safetensors")
    assert names(*files) == set(files)


def test_the_layers_of_a_sentence_transformer_come_once_each() -> None:
    layers = ("modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors")
    assert names(*PLAIN, "model.safetensors", *layers, "2_Dense/pytorch_model.bin") == {
        *PLAIN, "model.safetensors", *layers,
    }  # fmt: skip


def test_of_gguf_come_the_chosen_quantization_s_parts_alone() -> None:
    parts = ("Q8_0/m-00001-of-00002.gguf", "Q8_0/m-00002-of-00002.gguf")
    spec = ModelSpec(ref=REF, looked=True, format=Format.GGUF, file=parts[0])
    assert names(*parts, "m-Q4_K_M.gguf", "mmproj-F16.gguf", "README.md", "config.json", spec=spec) == set(
        parts
    )


def test_patterns_take_other_files() -> None:
    files = dict.fromkeys((*PLAIN, *SAFE, "onnx/model.onnx"), 10)
    assert picked(files, PLAIN, ["*.onnx", "config.json"], [], "me/m") == ("config.json", "onnx/model.onnx")
    assert picked(files, PLAIN, [], ["*.md", "tok*", "LICENSE"], "me/m") == (
        "config.json",
        "model.safetensors.index.json",
    )
    with pytest.raises(ModelError, match="No file of me/m is left"):
        picked(files, PLAIN, ["*.nosuch"], [], "me/m")


def test_numbered_parts_are_complete_when_all_are_there() -> None:
    assert is_complete(("config.json", *SAFE))
    assert not is_complete(("config.json", SAFE[1]))
    assert not is_complete(("a-00001-of-00003.gguf", "a-00003-of-00003.gguf"))
