"""What the files beside a model's weights say of it."""

from __future__ import annotations

import json

import pytest

from llm_atc.plan.papers import Modality, read_papers, shards_missing
from llm_atc.plan.tensors import BadHeader, check_size


def text(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_a_chat_model_has_its_papers() -> None:
    found = read_papers(
        ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
        {
            "config.json": text(model_type="llama", quantization_config={"quant_method": "awq"}),
            "tokenizer_config.json": text(chat_template="{{ messages }}"),
            "generation_config.json": text(temperature=0.6),
        },
    )
    assert (found.tokenizer, found.chat_template) == (True, True)
    assert found.generation == {"temperature": 0.6}
    assert (found.model_type, found.quantization) == ("llama", "awq")
    assert found.modality == (Modality.TEXT,)


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json", "tekken.json"])
def test_a_template_may_be_a_file_of_its_own(name: str) -> None:
    assert read_papers(("config.json", name), {}).chat_template


@pytest.mark.parametrize("name", ["tokenizer.model", "tekken.json", "qwen.tiktoken", "vocab.txt"])
def test_a_tokenizer_has_many_names(name: str) -> None:
    assert read_papers((name,), {}).tokenizer


def test_what_is_missing_is_missing() -> None:
    found = read_papers(("config.json", "model.safetensors"), {"config.json": text(vision_config={})})
    assert (found.tokenizer, found.chat_template, found.generation) == (False, False, None)
    assert found.modality == (Modality.TEXT, Modality.IMAGE)


def test_an_index_promises_parts() -> None:
    index = text(
        weight_map={"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    )
    assert shards_missing(("model-00001-of-00002.safetensors",), index) == (
        "model-00002-of-00002.safetensors",
    )
    assert shards_missing((), None) == ()


def test_a_file_is_as_long_as_its_header_tells() -> None:
    check_size(100, 100)
    check_size(110, 100, exact=False)
    with pytest.raises(BadHeader, match="cut short: 90 bytes of 100"):
        check_size(90, 100)
    with pytest.raises(BadHeader, match="10 bytes that its header does not tell of"):
        check_size(110, 100)
