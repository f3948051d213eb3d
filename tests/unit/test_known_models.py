"""What the pinned engines are known to load, and what is said of the rest."""

from __future__ import annotations

import pytest

from llm_atc.plan.engine import EngineName
from llm_atc.store.engine_options import known_models

VLLM = known_models(EngineName.VLLM)
LLAMA = known_models(EngineName.LLAMA_CPP)


def test_what_the_engines_load_is_known() -> None:
    assert (VLLM.version, LLAMA.version) == ("0.32.0", "0.3.36")
    assert VLLM.why_not("LlamaForCausalLM") is None
    assert LLAMA.why_not("llama") is None
    assert "Qwen2VLForConditionalGeneration" in VLLM.multimodal


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("QWenLMHeadModel", "QWenLMHeadModel was in vllm until 0.23.0, and is not in vllm 0.32.0."),
        (
            "BartModel",
            "BartModel comes with a plug-in for vllm (https://github.com/vllm-project/bart-plugin)",
        ),
        (
            "LLamaForCausalLM",
            "vllm 0.32.0 does not know the architecture LLamaForCausalLM. "
            "The nearest that it knows is LlamaForCausalLM.",
        ),
        ("MartianForCausalLM", "vllm 0.32.0 does not know the architecture MartianForCausalLM."),
    ],
)
def test_of_others_it_is_said_why_not(architecture: str, said: str) -> None:
    assert (VLLM.why_not(architecture) or "").startswith(said)


@pytest.mark.parametrize(
    ("model", "tools", "reasoning"),
    [
        ("Qwen/Qwen3-0.6B", ("qwen3_coder", "qwen3_json", "qwen3_xml"), ("qwen3",)),
        ("mistralai/Mistral-7B-Instruct-v0.3", ("mistral",), ("mistral",)),
        ("org/anything", (), ()),
    ],
)
def test_parsers_are_hinted_at_by_name(
    model: str, tools: tuple[str, ...], reasoning: tuple[str, ...]
) -> None:
    assert VLLM.tool_parsers_like(model) == tools
    assert VLLM.reasoning_parsers_like(model) == reasoning
