"""What hybrids keep of a sequence whatever its length, read from config.json.

The shapes are those of `get_mamba_state_shape_from_config` in vLLM 0.32.0's model files.
"""

from __future__ import annotations

from llm_atc.plan.architecture import Dtype, State
from llm_atc.plan.model_fields import Fields, UnclearConfig

ATTENTION, STATE, BOTH, NOTHING = "a", "s", "b", "-"
_STATES = ("mamba", "linear_attention", "conv", "mamba2")
_ATTENTIONS = ("attention", "full_attention")


def all_states(fields: Fields) -> str:
    """Every layer keeps a state."""
    return STATE * fields.number("num_hidden_layers", "n_layer")


def parallel_layers(fields: Fields) -> str:
    """Every layer has both, side by side."""
    return BOTH * fields.number("num_hidden_layers")


def jamba_layers(fields: Fields) -> str:
    """One attention layer in each period."""
    period, offset = fields.number("attn_layer_period"), fields.number("attn_layer_offset")
    depth = fields.number("num_hidden_layers")
    return "".join(ATTENTION if i % period == offset else STATE for i in range(depth))


def bamba_layers(fields: Fields) -> str:
    """Attention in the layers that are listed."""
    listed = fields.numbers("attn_layer_indices") or ()
    return "".join(ATTENTION if i in listed else STATE for i in range(fields.number("num_hidden_layers")))


def typed_layers(fields: Fields) -> str:
    """By `layer_types`, or full attention in every nth layer."""
    types = fields.words("layer_types") or fields.words("layers_block_type")
    if types is not None:
        return "".join(
            _letter(kind) for kind in types[: fields.number("num_hidden_layers", default=len(types))]
        )
    depth = fields.number("num_hidden_layers")
    full = fields.numbers("full_attn_idxs")
    if full is not None:
        return "".join(ATTENTION if i in full else STATE for i in range(depth))
    every = fields.number("full_attention_interval")
    return "".join(STATE if (i + 1) % every else ATTENTION for i in range(depth))


def nemotron_layers(fields: Fields) -> str:
    """By a pattern of letters: M keeps a state, * attends, the others keep nothing."""
    pattern = fields.word("hybrid_override_pattern")
    if pattern is None:
        return typed_layers(fields)
    return "".join({"M": STATE, "*": ATTENTION}.get(letter, NOTHING) for letter in pattern)


def _letter(kind: str) -> str:
    if kind in _STATES:
        return STATE
    if kind in _ATTENTIONS:
        return ATTENTION
    if kind in ("mlp", "moe"):
        return NOTHING
    raise UnclearConfig(f"config.json has a layer of the unknown type {kind!r}")


def mamba(fields: Fields) -> State:
    """Mamba's first version."""
    inner = fields.number("intermediate_size")
    return State(
        channels=inner,
        steps=fields.number("conv_kernel") - 1,
        recurrent=inner * fields.number("state_size"),
    )


def jamba(fields: Fields) -> State:
    """Mamba's first version, under Jamba's names."""
    inner = fields.number("mamba_expand", default=2) * fields.number("hidden_size")
    return State(
        channels=inner,
        steps=fields.number("mamba_d_conv", default=4) - 1,
        recurrent=inner * fields.number("mamba_d_state", default=16),
    )


def mamba2(fields: Fields) -> State:
    """Mamba 2."""
    size = fields.number("state_size")
    return State(
        channels=fields.number("expand", default=2) * fields.number("hidden_size"),
        steps=fields.number("conv_kernel", default=4) - 1,
        groups=fields.number("n_groups"),
        group=size,
        recurrent=fields.number("num_heads") * fields.number("head_dim") * size,
        checkpoint=True,
    )


def bamba(fields: Fields) -> State:
    """Mamba 2, under Bamba's names, which Granite uses too."""
    return _mamba2(fields, fields.number("mamba_expand", default=2) * fields.number("hidden_size"))


def falcon_h1(fields: Fields) -> State:
    """Mamba 2, its width given by itself."""
    expanded = fields.number("mamba_expand", default=2) * fields.number("hidden_size")
    return _mamba2(fields, fields.perhaps("mamba_d_ssm") or expanded)


def _mamba2(fields: Fields, inner: int) -> State:
    heads, size = fields.number("mamba_n_heads"), fields.number("mamba_d_state")
    auto = fields.get("mamba_d_head") in (None, "auto")
    head = inner // heads if auto else fields.number("mamba_d_head")
    return State(
        channels=inner,
        steps=fields.number("mamba_d_conv", default=4) - 1,
        groups=fields.number("mamba_n_groups", default=1),
        group=size,
        recurrent=heads * head * size,
        checkpoint=True,
    )


def nemotron_h(fields: Fields) -> State:
    """Mamba 2, under Nemotron-H's names; vLLM keeps its state in float32."""
    heads, head = fields.number("mamba_num_heads"), fields.number("mamba_head_dim")
    size = fields.number("ssm_state_size")
    return State(
        channels=heads * head,
        steps=fields.number("conv_kernel", default=4) - 1,
        groups=fields.number("n_groups"),
        group=size,
        recurrent=heads * head * size,
        dtype=_own(fields, "mamba_ssm_cache_dtype", Dtype.FLOAT32),
        checkpoint=True,
    )


def gated_delta(fields: Fields) -> State:
    """Gated delta networks, the linear attention of Qwen3-Next."""
    keys, values = fields.number("linear_num_key_heads"), fields.number("linear_num_value_heads")
    key, value = fields.number("linear_key_head_dim"), fields.number("linear_value_head_dim")
    return State(
        channels=2 * keys * key + values * value,
        steps=fields.number("linear_conv_kernel_dim", default=4) - 1,
        recurrent=values * value * key,
        dtype=_own(fields, "mamba_ssm_dtype", None),
    )


def short_conv(fields: Fields) -> State:
    """A short convolution alone, as in LFM2."""
    return State(
        channels=fields.number("conv_dim", "hidden_size"),
        steps=fields.number("conv_L_cache") - 1,
        recurrent=0,
    )


def _own(fields: Fields, name: str, otherwise: Dtype | None) -> Dtype | None:
    said = fields.word(name)
    return Dtype(said) if said in ("float32", "bfloat16", "float16") else otherwise
