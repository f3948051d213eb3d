"""config.json of published models, and what a token takes of each: the numbers are counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llm_atc.plan.architecture import Architecture, Attention, Cross, Dtype, Latent, State, Unknown
from llm_atc.plan.kv_cache import PerToken, per_token
from llm_atc.plan.model_config import READERS, read_architecture

FACTS = json.loads(Path(__file__).with_name("model_facts.json").read_text())
HALF = Dtype.BFLOAT16


def read(**config: Any) -> Architecture:
    found = read_architecture({"vocab_size": 1000, "hidden_size": 512, "num_attention_heads": 8} | config)
    assert isinstance(found, Architecture), found
    return found


def taken(model: Architecture) -> PerToken:
    return per_token(model, HALF, HALF)


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts["model"])
def test_a_token_of_a_published_model_takes_so_many_bytes(facts: dict[str, Any]) -> None:
    assert taken(read(**facts["config"])).all == facts["bytes_per_token"]


def test_windows_split_the_bytes_and_not_their_sum() -> None:
    found = {facts["model"]: read(**facts["config"]) for facts in FACTS}
    # Every sixth of 26 layers is full, 4 of them; a layer takes 2 x 256 values of 2 bytes.
    gemma = found["google/gemma-3-1b-it"]
    assert taken(gemma) == PerToken(full=4 * 1024, windowed=22 * 1024, state=0)
    assert gemma.window == 512
    assert taken(found["openai/gpt-oss-20b"]) == PerToken(full=24576, windowed=24576, state=0)
    assert found["meta-llama/Llama-2-7b-chat-hf"].window is None


def test_a_latent_takes_576_values_for_each_layer() -> None:
    deepseek = {"model_type": "deepseek_v3", "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    v3 = read(num_hidden_layers=61, num_attention_heads=128, **deepseek)
    assert set(v3.caches) == {Latent(width=576)}
    assert taken(v3).all == 576 * 2 * 61
    v2 = read(num_hidden_layers=60, **(deepseek | {"model_type": "deepseek_v2"}))
    assert taken(v2).all == 69120


def test_sparse_attention_with_an_index_is_not_guessed_at() -> None:
    found = read_architecture(
        {
            "model_type": "deepseek_v32",
            "vocab_size": 1,
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "index_topk": 64,
        }
    )
    assert isinstance(found, Unknown)
    assert "index" in found.reason


def test_architectures_that_are_no_list_are_told_and_not_guessed_at() -> None:
    found = read_architecture({"model_type": "llama", "architectures": "LlamaForCausalLM"})
    assert found == Unknown(name="llama", reason="config.json has architectures that are no list of words")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1, 1.5, True])
def test_what_is_no_whole_number_is_told_and_not_guessed_at(number: float) -> None:
    found = read_architecture({"model_type": "llama", "num_hidden_layers": number})
    assert found == Unknown(name="llama", reason=f"config.json has num_hidden_layers = {number!r}")


def test_qwen2_has_its_window_only_where_it_is_switched_on() -> None:
    sizes = {"model_type": "qwen2", "num_hidden_layers": 4, "num_key_value_heads": 2, "sliding_window": 64}
    assert read(use_sliding_window=False, max_window_layers=2, **sizes).window is None
    on = read(use_sliding_window=True, max_window_layers=2, **sizes)
    assert [cache.window for cache in on.caches if isinstance(cache, Attention)] == [None, None, 64, 64]


def test_mistral_has_a_window_of_4096_unless_null_switches_it_off() -> None:
    sizes = {"model_type": "mistral", "num_hidden_layers": 2}
    assert read(**sizes).window == 4096
    assert read(sliding_window=None, **sizes).window is None


def test_the_newer_falcon_has_as_many_key_value_heads_as_it_says() -> None:
    sizes = {"model_type": "falcon", "num_hidden_layers": 2, "num_kv_heads": 4}
    assert read(**sizes).caches[0] == Attention(heads=1, key=64, value=64)
    assert read(new_decoder_architecture=True, **sizes).caches[0] == Attention(heads=4, key=64, value=64)
    assert read(multi_query=False, **sizes).caches[0] == Attention(heads=8, key=64, value=64)


def test_jamba_attends_in_every_eighth_layer_and_keeps_a_state_in_the_others() -> None:
    # Jamba 1.5 Mini: 32 layers, 4 of them attention with 8 heads of 128; states of 8192 channels.
    jamba = read(model_type="jamba", num_hidden_layers=32, hidden_size=4096, num_attention_heads=32)
    assert taken(jamba) == PerToken(full=4 * 8 * 256 * 2, windowed=0, state=28 * 8192 * (3 + 16) * 2)


def test_qwen3_next_keeps_a_state_in_three_of_four_layers() -> None:
    model = read(
        model_type="qwen3_next",
        num_hidden_layers=48,
        num_attention_heads=16,
        num_key_value_heads=2,
        linear_num_key_heads=16,
        linear_num_value_heads=32,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_conv_kernel_dim=4,
    )
    state = State(channels=2 * 16 * 128 + 32 * 128, steps=3, recurrent=32 * 128 * 128)
    assert [cache for cache in model.caches if isinstance(cache, State)] == [state] * 36
    assert taken(model) == PerToken(full=12 * 2 * 512 * 2, windowed=0, state=36 * (8192 * 3 + 524288) * 2)


def test_a_hybrid_may_say_how_many_layers_it_has_by_their_list_alone() -> None:
    # As transformers 5 writes Nemotron-H, without num_hidden_layers.
    model = read(
        model_type="nemotron_h",
        layers_block_type=["linear_attention", "mlp", "full_attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        mamba_num_heads=8,
        mamba_head_dim=32,
        n_groups=2,
        ssm_state_size=128,
        conv_kernel=4,
    )
    assert model.layers == 3
    assert [type(cache) for cache in model.caches] == [State, Attention]


def test_layers_that_share_what_others_keep_take_nothing() -> None:
    model = read(model_type="gemma3n_text", num_hidden_layers=20, head_dim=64, num_key_value_heads=2)
    assert len(model.caches) == 5
    assert model.layers == 20


def test_an_encoders_output_is_kept_once_for_each_request() -> None:
    # Whisper large: 32 decoder layers, 20 heads of 64, 1500 positions of sound.
    whisper = read(
        model_type="whisper",
        d_model=1280,
        decoder_layers=32,
        decoder_attention_heads=20,
        max_target_positions=448,
    )
    assert Cross(heads=20, key=64, value=64, length=1500) in whisper.caches
    assert taken(whisper) == PerToken(full=32 * 2560 * 2, windowed=0, state=32 * 2560 * 1500 * 2)
    assert whisper.context == 448


def test_the_language_part_of_a_model_that_sees_is_read_with_its_defaults() -> None:
    # gemma-3-4b-it says no more than this of its language model.
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024}
    found = read_architecture(
        {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text}
    )
    assert isinstance(found, Architecture)
    assert (found.heads, found.context, found.window) == (8, 131072, 1024)
    assert taken(found).all == 34 * 4 * 512 * 2


def test_a_checkpoint_may_bring_its_own_dtype_for_the_cache() -> None:
    quantized = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"type": "float", "num_bits": 8}}
    assert read(model_type="llama", num_hidden_layers=1, quantization_config=quantized).kv is Dtype.FP8


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "something_new"}, "'something_new' is not one whose memory"),
        ({}, "'?'"),
        ({"model_type": "llama", "vocab_size": 1, "hidden_size": 8}, "does not say num_attention_heads"),
        ({"model_type": "llama", "num_attention_heads": 0, "hidden_size": 8}, "no attention heads"),
        ({"model_type": "llama", "num_attention_heads": "8", "hidden_size": 8}, "num_attention_heads = '8'"),
        (
            {"model_type": "gemma2", "num_attention_heads": 8, "layer_types": ["full_attention"]},
            "1 layer_types",
        ),
        ({"model_type": "llama", "num_attention_heads": 8, "layer_types": [1]}, "no list of words"),
    ],
)
def test_what_is_not_said_is_unknown_and_not_guessed(config: dict[str, Any], reason: str) -> None:
    found = read_architecture({"num_hidden_layers": 2, "vocab_size": 10} | config)
    assert isinstance(found, Unknown)
    assert reason in found.reason


JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-5, 70) | some.text(max_size=5),
    lambda below: some.lists(below, max_size=3) | some.dictionaries(some.text(max_size=5), below, max_size=3),
    max_leaves=5,
)
NAMES = some.sampled_from(
    [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "layer_types",
        "sliding_window",
        "text_config",
    ]
)


@given(kind=some.sampled_from(sorted(READERS)), values=some.dictionaries(NAMES, JSON))
def test_no_configuration_is_more_than_unknown(kind: str, values: dict[str, Any]) -> None:
    assert isinstance(read_architecture({"model_type": kind, **values}), Architecture | Unknown)
