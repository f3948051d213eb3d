"""Configurations of small models of many architectures, with shapes drawn by chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

Config = dict[str, Any]


def _base(draw: Random, name: str, kind: str, **more: Any) -> Config:
    kv = draw.choice((1, 2, 4))
    heads = kv * draw.choice((1, 2))
    size = draw.choice((32, 64))
    return {
        "architectures": [name],
        "model_type": kind,
        "hidden_size": heads * size,
        "intermediate_size": 128,
        "num_hidden_layers": draw.randint(2, 9),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": size,
        "vocab_size": 512,
        "max_position_embeddings": draw.choice((1024, 3000, 4096)),
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **more,
    }


def _windowed(name: str, kind: str, **more: Any) -> Callable[[Random], Config]:
    return lambda draw: _base(draw, name, kind, sliding_window=draw.choice((64, 129, 512)), **more)


def _plain(name: str, kind: str, **more: Any) -> Callable[[Random], Config]:
    return lambda draw: _base(draw, name, kind, **more)


def _mha(draw: Random) -> Config:
    config = _base(draw, "LlamaForCausalLM", "llama")
    return config | {"num_key_value_heads": config["num_attention_heads"]}


def _latent(name: str, kind: str) -> Callable[[Random], Config]:
    def draw_one(draw: Random) -> Config:
        base = _base(draw, name, kind)
        del base["head_dim"]
        return base | {
            "hidden_size": 128,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "kv_lora_rank": 512,
            "q_lora_rank": 64,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "first_k_dense_replace": 1,
            "moe_layer_freq": 1,
            "norm_topk_prob": True,
            "topk_method": "greedy" if kind == "deepseek_v2" else "noaux_tc",
            "n_group": 1,
            "topk_group": 1,
            "routed_scaling_factor": 1.0,
            "scoring_func": "softmax" if kind == "deepseek_v2" else "sigmoid",
        }

    return draw_one


def _falcon(new: bool) -> Callable[[Random], Config]:
    def draw_one(draw: Random) -> Config:
        heads = draw.choice((4, 8))
        return {
            "architectures": ["FalconForCausalLM"],
            "model_type": "falcon",
            "hidden_size": heads * 64,
            "num_hidden_layers": draw.randint(2, 6),
            "num_attention_heads": heads,
            "num_kv_heads": draw.choice((1, 2, 4)),
            "vocab_size": 512,
            "multi_query": True,
            "new_decoder_architecture": new,
            "parallel_attn": True,
            "bias": False,
            "alibi": False,
            "torch_dtype": "bfloat16",
            "bos_token_id": 1,
            "eos_token_id": 2,
        }

    return draw_one


def _old(name: str, kind: str, **names: str) -> Callable[[Random], Config]:
    def draw_one(draw: Random) -> Config:
        heads = draw.choice((2, 4))
        shape = {
            "hidden": heads * 64,
            "layers": draw.randint(2, 6),
            "heads": heads,
            "length": 512,
            "inner": 128,
        }
        return {
            "architectures": [name],
            "model_type": kind,
            "vocab_size": 512,
            "torch_dtype": "bfloat16",
            "bos_token_id": 1,
            "eos_token_id": 2,
            **{field: shape[what] for what, field in names.items()},
        }

    return draw_one


def _mamba2_sizes(draw: Random) -> Config:
    return {
        "mamba_n_heads": 8,
        "mamba_d_head": 32,
        "mamba_n_groups": draw.choice((1, 2)),
        "mamba_d_state": draw.choice((16, 64, 128)),
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "mamba_chunk_size": 64,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "hidden_size": 128,
    }


def _granite_hybrid(draw: Random) -> Config:
    kinds = ["attention", *(draw.choice(("mamba", "mamba", "attention")) for _ in range(6)), "mamba"]
    return _base(draw, "GraniteMoeHybridForCausalLM", "granitemoehybrid") | {
        **_mamba2_sizes(draw),
        "num_hidden_layers": len(kinds),
        "layer_types": kinds,
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "shared_intermediate_size": 64,
        "position_embedding_type": "rope",
        "num_attention_heads": 4,
        "num_key_value_heads": draw.choice((1, 2, 4)),
        "head_dim": 32,
    }


def _falcon_h1(draw: Random) -> Config:
    multipliers = ("key", "attention_out", "attention_in", "ssm_out", "ssm_in", "embedding", "lm_head")
    return _base(draw, "FalconH1ForCausalLM", "falcon_h1") | {
        **_mamba2_sizes(draw),
        "num_hidden_layers": draw.randint(2, 4),
        "mamba_d_ssm": 256,
        "mamba_rms_norm": True,
        "projectors_bias": False,
        "ssm_multipliers": [1.0] * 5,
        "mlp_multipliers": [1.0, 1.0],
        **{f"{name}_multiplier": 1.0 for name in multipliers},
    }


def _nemotron_h(draw: Random) -> Config:
    return _base(draw, "NemotronHForCausalLM", "nemotron_h") | {
        "hybrid_override_pattern": "M-M*-M",
        "num_hidden_layers": 6,
        "hidden_size": 128,
        "mamba_num_heads": 8,
        "mamba_head_dim": 32,
        "n_groups": 2,
        "ssm_state_size": draw.choice((32, 64, 128)),
        "conv_kernel": 4,
        "chunk_size": 64,
        "expand": 2,
        "layer_norm_epsilon": 1e-5,
        "mlp_hidden_act": "relu2",
        "use_bias": False,
        "use_conv_bias": True,
        "mamba_proj_bias": False,
        "mlp_bias": False,
        "attention_bias": False,
        "residual_in_fp32": False,
    }


def _jamba(draw: Random) -> Config:
    return _base(draw, "JambaForCausalLM", "jamba") | {
        "num_hidden_layers": 8,
        "attn_layer_period": 4,
        "attn_layer_offset": draw.randint(0, 3),
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_state": draw.choice((16, 64)),
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "mamba_dt_rank": 8,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": draw.choice((1, 2, 4)),
        "head_dim": 32,
    }


def _mamba2(draw: Random) -> Config:
    return {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "hidden_size": 128,
        "num_hidden_layers": draw.randint(2, 5),
        "vocab_size": 512,
        "state_size": draw.choice((16, 64)),
        "num_heads": 8,
        "head_dim": 32,
        "expand": 2,
        "n_groups": draw.choice((1, 2)),
        "conv_kernel": 4,
        "chunk_size": 64,
        "torch_dtype": "bfloat16",
        "rms_norm": True,
        "use_bias": False,
        "use_conv_bias": True,
        "layer_norm_epsilon": 1e-5,
        "norm_before_gate": False,
        "residual_in_fp32": True,
        "time_step_limit": [0.0, 1e9],
        "hidden_act": "silu",
    }


def _qwen3_next(draw: Random) -> Config:
    return _base(draw, "Qwen3NextForCausalLM", "qwen3_next") | {
        "num_hidden_layers": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
        "linear_num_key_heads": draw.choice((1, 2)),
        "linear_num_value_heads": 4,
        "linear_key_head_dim": draw.choice((32, 64)),
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _gemma3n(draw: Random) -> Config:
    config = _windowed("Gemma3nForCausalLM", "gemma3n_text", **GEMMA)(draw)
    return config | {
        "num_hidden_layers": 10,
        "num_kv_shared_layers": 5,
        "vocab_size_per_layer_input": 512,
        "hidden_size_per_layer_input": 32,
        "altup_num_inputs": 2,
        "altup_active_idx": 0,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "laurel_rank": 16,
        "intermediate_size": [128] * 10,
        "activation_sparsity_pattern": [0.0] * 10,
    }


def _lfm2(draw: Random) -> Config:
    kinds = ["conv", "full_attention", *(draw.choice(("conv", "full_attention")) for _ in range(4))]
    return _base(draw, "Lfm2ForCausalLM", "lfm2") | {
        "num_hidden_layers": len(kinds),
        "layer_types": kinds,
        "conv_L_cache": draw.choice((3, 4)),
        "conv_bias": False,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": draw.choice((1, 2, 4)),
        "head_dim": 32,
        "conv_dim": 128,
        "conv_dim_out": 128,
        "block_dim": 128,
        "block_ff_dim": 256,
        "block_multiple_of": 32,
        "block_auto_adjust_ff_dim": False,
        "norm_eps": 1e-5,
    }


GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
QWEN_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,
    "mlp_only_layers": [],
}
GRANITE = dict.fromkeys(
    ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"), 1.0
)
SHAPES: Mapping[str, Callable[[Random], Config]] = {
    "MHA": _mha,
    "GQA": _plain("LlamaForCausalLM", "llama"),
    "Qwen2, no window": _windowed("Qwen2ForCausalLM", "qwen2", use_sliding_window=False, max_window_layers=2),
    "Qwen3 MoE": _plain("Qwen3MoeForCausalLM", "qwen3_moe", **QWEN_EXPERTS),
    "Mistral, window": _windowed("MistralForCausalLM", "mistral"),
    "Phi-3": _windowed("Phi3ForCausalLM", "phi3"),
    "Phi-3.5 MoE": _windowed(
        "PhiMoEForCausalLM", "phimoe", lm_head_bias=True, attention_bias=True, **EXPERTS
    ),
    "Mixtral": _plain("MixtralForCausalLM", "mixtral", sliding_window=None, **EXPERTS),
    "Gemma 2": _windowed("Gemma2ForCausalLM", "gemma2", **GEMMA),
    "Gemma 3": _windowed("Gemma3ForCausalLM", "gemma3_text", sliding_window_pattern=3, **GEMMA),
    "Gemma 3n": _gemma3n,
    "gpt-oss": _windowed("GptOssForCausalLM", "gpt_oss", swiglu_limit=7.0, **EXPERTS),
    "Olmo 3": _windowed("Olmo3ForCausalLM", "olmo3"),
    "Cohere 2": _windowed("Cohere2ForCausalLM", "cohere2", layer_norm_eps=1e-5, logit_scale=1.0),
    "Granite": _plain("GraniteForCausalLM", "granite", **GRANITE),
    "Falcon, multi-query": _falcon(new=False),
    "Falcon, new": _falcon(new=True),
    "GPT-2": _old(
        "GPT2LMHeadModel",
        "gpt2",
        hidden="n_embd",
        layers="n_layer",
        heads="n_head",
        length="n_positions",
        inner="n_inner",
    ),
    "StarCoder": _old(
        "GPTBigCodeForCausalLM",
        "gpt_bigcode",
        hidden="n_embd",
        layers="n_layer",
        heads="n_head",
        length="n_positions",
        inner="n_inner",
    ),
    "DeepSeek-V2": _latent("DeepseekV2ForCausalLM", "deepseek_v2"),
    "DeepSeek-V3": _latent("DeepseekV3ForCausalLM", "deepseek_v3"),
    "GLM-4.7 Flash": _latent("Glm4MoeLiteForCausalLM", "glm4_moe_lite"),
    "Jamba": _jamba,
    "Mamba 2": _mamba2,
    "Granite 4": _granite_hybrid,
    "Falcon-H1": _falcon_h1,
    "Nemotron-H": _nemotron_h,
    "Qwen3-Next": _qwen3_next,
    "LFM2": _lfm2,
}
