"""Which files an engine's own options name."""

from __future__ import annotations

from typing import Any

import pytest

from llm_atc.plan.engine import EngineName
from llm_atc.plan.named_files import named_files


@pytest.mark.parametrize(
    ("engine", "options", "named"),
    [
        (EngineName.VLLM, {"lora_modules": ["a=/x", '{"name": "b"}', "c=org/y"]}, [("--lora-modules", "/x")]),
        (EngineName.VLLM, {"lora_modules": [{"name": "a", "path": "/x"}]}, [("--lora-modules", "/x")]),
        (EngineName.VLLM, {"speculative_config": {"model": "/x"}}, [("--speculative-config", "/x")]),
        (EngineName.VLLM, {"chat_template": "{% for a in b %}/x{% endfor %}"}, []),
        (EngineName.VLLM, {"tokenizer": "org/tokenizer", "max_model_len": 8}, []),
        (EngineName.LLAMA_CPP, {"lora": "/x.gguf,/y.gguf"}, [("--lora", "/x.gguf"), ("--lora", "/y.gguf")]),
        (EngineName.LLAMA_CPP, {"mmproj": "/x.gguf", "ctx_size": 8}, [("--mmproj", "/x.gguf")]),
    ],
)
def test_absolute_paths_are_files_and_other_words_are_not(
    engine: EngineName, options: dict[str, Any], named: list[tuple[str, str]]
) -> None:
    assert list(named_files(engine, options)) == named
