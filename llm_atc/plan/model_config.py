"""config.json as an `Architecture`: which layers a model has, and what each keeps.

The rules are those that vLLM 0.32.0 and transformers follow when they build the model; `tests/e2e` holds them
against the real vLLM. A model type that is not listed here is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llm_atc.plan import model_states as states
from llm_atc.plan.architecture import Architecture, Attention, Cache, Cross, Dtype, Latent, Unknown
from llm_atc.plan.model_fields import Fields, UnclearConfig

Caches = tuple[Cache, ...]
# The language model's part of a configuration that has several.
_LANGUAGE = ("text_config", "llm_config", "language_config")
_DEPTH = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
_KV_HEADS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
# vLLM takes the smallest of these.
_CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
    "n_ctx",
)
_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
_ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k")
_INNER = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")
# vLLM computes these in float32 where there is no bfloat16 (_FLOAT16_NOT_SUPPORTED_MODELS, config/model.py).
_NO_HALF = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
# What transformers assumes where config.json is silent, for those that are published so.
_GEMMA3 = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "vocab_size": 262208,
    "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "gemma": {"tie_word_embeddings": True, "head_dim": 256},
    "gemma2": {
        "tie_word_embeddings": True,
        "head_dim": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 2,
    },
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "gemma3n_text": {"num_kv_shared_layers": 15, "sliding_window": 512, "sliding_window_pattern": 5},
    "mistral": {
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 131072,
    },
    "cohere2": {"tie_word_embeddings": True, "sliding_window": 4096, "sliding_window_pattern": 4},
    "exaone4": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "olmo3": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "gpt_oss": {"head_dim": 64, "sliding_window": 128, "sliding_window_pattern": 2},
    "falcon": {"tie_word_embeddings": True, "multi_query": True, "max_position_embeddings": 2048},
    "qwen3_next": {"head_dim": 256, "full_attention_interval": 4},
    "qwen3_5_text": {"head_dim": 256, "full_attention_interval": 4},
    "qwen3_5_moe_text": {"head_dim": 256, "full_attention_interval": 4},
    "jamba": {"num_key_value_heads": 8, "attn_layer_period": 8, "attn_layer_offset": 4},
    **{kind: {"tie_word_embeddings": True} for kind in ("cohere", "gpt2", "gpt_bigcode", "opt", "bloom")},
    "whisper": {"max_source_positions": 1500},
    "t5": {"n_positions": 512},
}


def read_architecture(config: Mapping[str, object]) -> Architecture | Unknown:
    """The shape that a parsed config.json describes; `Unknown` when any of it would be a guess."""
    top = Fields(config, {})
    name = top.word("model_type") or "?"
    try:
        name = (top.words("architectures") or (name,))[0]
        return _shaped(name, top)
    except UnclearConfig as error:
        return Unknown(name=name, reason=str(error))


def _shaped(name: str, top: Fields) -> Architecture | Unknown:
    part = _language_part(top)
    kind = part.word("model_type") or top.word("model_type") or ""
    read = READERS.get(kind)
    if read is None:
        return Unknown(name=name, reason=f"model_type {kind or '?'!r} is not one whose memory llm-atc knows")
    return _read(name, kind, top, part.with_defaults(_DEFAULTS.get(kind, {})), read)


def _language_part(top: Fields) -> Fields:
    part = top.below(*_LANGUAGE)
    return part if part is not None and any(map(part.says, (*_HIDDEN, *_DEPTH))) else top


def _read(
    name: str, kind: str, top: Fields, fields: Fields, read: Callable[[Fields], Caches]
) -> Architecture:
    contexts = [found for key in _CONTEXT if (found := fields.perhaps(key)) is not None]
    longest = fields.perhaps("model_max_length")
    return Architecture(
        name=name,
        layers=_depth(fields),
        caches=read(fields),
        hidden=fields.number(*_HIDDEN),
        heads=fields.number(*_HEADS, default=0),
        vocabulary=fields.number("vocab_size", "padded_vocab_size"),
        context=longest or min(contexts, default=None),
        dtype=_dtype(top) or _dtype(fields),
        experts=fields.perhaps(*_EXPERTS) or 0,
        active=fields.perhaps(*_ACTIVE) or 0,
        quantization=_quantization(top) or _quantization(fields),
        inner=_inner(fields),
        half=kind not in _NO_HALF,
        bits=_bits(top) or _bits(fields),
        kv=_kv(top) or _kv(fields),
        tied=fields.flag("tie_word_embeddings", top.flag("tie_word_embeddings")),
    )


def _dtype(fields: Fields) -> Dtype | None:
    said = (fields.word("dtype") or fields.word("torch_dtype") or "").removeprefix("torch.")
    return Dtype(said) if said in ("float32", "bfloat16", "float16") else None


def _quantization(fields: Fields) -> str | None:
    found = fields.below("quantization_config", "compression_config")
    if found is None:
        return None
    return (found.word("quant_method") or "unknown").lower().replace("_", "-")


def _bits(fields: Fields) -> int | None:
    found = fields.below("quantization_config", "compression_config")
    if found is None:
        return None
    groups = found.below("config_groups")
    inner = groups.below(*groups.values) if groups else None
    weights = inner.below("weights") if inner else None
    return found.perhaps("bits", "w_bit") or (weights.perhaps("num_bits") if weights else None)


def _kv(fields: Fields) -> Dtype | None:
    """Checkpoints that bring scales for it have their KV cache in FP8 without being asked."""
    found = fields.below("quantization_config", "compression_config")
    if found is None:
        return None
    scheme = found.below("kv_cache_scheme")
    eight = scheme is not None and scheme.word("type") == "float" and scheme.perhaps("num_bits") == 8
    return Dtype.FP8 if eight or (found.word("kv_cache_quant_algo") or "").upper() == "FP8" else None


def _inner(fields: Fields) -> int:
    for name in _INNER:
        found = fields.get(name)
        if isinstance(found, int):
            return found
        if isinstance(found, list) and found:
            return max(one for one in found if isinstance(one, int))
    return 0


def head_size(fields: Fields) -> int:
    """Values of one key. UnclearConfig when the hidden size does not say."""
    said = fields.perhaps("head_dim", "hidden_size_per_head", "kv_channels")
    if said:
        return said
    heads = fields.number(*_HEADS)
    if heads == 0:
        raise UnclearConfig("config.json has no attention heads")
    return fields.number(*_HIDDEN) // heads


def kv_heads(fields: Fields) -> int:
    """Key-value heads: as many as query heads where nothing else is said."""
    return fields.number(*_KV_HEADS, *_HEADS)


def attention(fields: Fields, window: int | None = None) -> Attention:
    """An attention layer as most of the model's are."""
    size = head_size(fields)
    return Attention(
        heads=kv_heads(fields), key=size, value=fields.perhaps("v_head_dim") or size, window=window
    )


def _depth(fields: Fields) -> int:
    """How many layers; newer files of hybrids say it by their list alone."""
    listed = fields.words("layers_block_type")
    return fields.number(*_DEPTH, default=len(listed) if listed else None)


def _plain(fields: Fields) -> Caches:
    """Every layer alike. A window is every layer's, as in vLLM, unless the model switches it off."""
    types = set(fields.words("layer_types") or ())
    if types - {"sliding_attention"}:
        return _interleaved(fields)
    window = fields.perhaps("sliding_window") or None
    if fields.says("use_sliding_window") and not fields.flag("use_sliding_window"):
        window = None
    return (attention(fields, window),) * _depth(fields)


def _mistral(fields: Fields) -> Caches:
    """Mistral's own default is a window of 4096, which null switches off."""
    if fields.says("sliding_window") or fields.words("layer_types"):
        return _plain(fields)
    return (attention(fields, 4096),) * _depth(fields)


def _no_window(fields: Fields) -> Caches:
    return (attention(fields),) * _depth(fields)


def _qwen(fields: Fields) -> Caches:
    """From `max_window_layers` on, layers have the window, where `use_sliding_window` is set."""
    depth = _depth(fields)
    if not fields.flag("use_sliding_window") or not fields.perhaps("sliding_window"):
        return (attention(fields),) * depth
    if fields.words("layer_types"):
        return _interleaved(fields)
    first = fields.number("max_window_layers", default=28)
    window = fields.number("sliding_window")
    return tuple(attention(fields, window if i >= first else None) for i in range(depth))


def _interleaved(fields: Fields, beyond: int = 0) -> Caches:
    """Windows in some layers, by `layer_types` or by a pattern whose every nth layer is full."""
    window = fields.perhaps("sliding_window")
    if not window:
        return _no_window(fields)
    depth = _depth(fields)
    types = fields.words("layer_types")
    if types is not None:
        if len(types) < depth:
            raise UnclearConfig(f"config.json names {len(types)} layer_types for {depth} layers")
        windowed = [kind == "sliding_attention" for kind in types[:depth]]
    else:
        every = fields.number("sliding_window_pattern", "_sliding_window_pattern")
        windowed = [bool((i + 1) % every) for i in range(depth)]
    return tuple(attention(fields, window + beyond if w else None) for w in windowed)


def _cohere2(fields: Fields) -> Caches:
    """A layer sees the window and the token itself, one more than the number says."""
    return _interleaved(fields, beyond=1)


def _shared(fields: Fields) -> Caches:
    """The last `num_kv_shared_layers` layers read what earlier ones keep."""
    caches = _interleaved(fields)
    return caches[: len(caches) - fields.number("num_kv_shared_layers", default=0)]


def _latent(fields: Fields) -> Caches:
    """DeepSeek's latent: `kv_lora_rank` values, and the part of the key that carries the position."""
    if fields.says("index_topk") or fields.says("compress_ratios"):
        raise UnclearConfig("its sparse attention keeps an index besides, which llm-atc does not count yet")
    width = fields.number("kv_lora_rank") + fields.number("qk_rope_head_dim")
    return (Latent(width=width),) * _depth(fields)


def _falcon(fields: Fields) -> Caches:
    size = head_size(fields)
    if fields.flag("new_decoder_architecture"):
        heads = kv_heads(fields)
    else:
        heads = 1 if fields.flag("multi_query") else fields.number(*_HEADS)
    return (Attention(heads=heads, key=size, value=size),) * _depth(fields)


def _bigcode(fields: Fields) -> Caches:
    size = head_size(fields)
    heads = 1 if fields.flag("multi_query", default=True) else fields.number(*_HEADS)
    return (Attention(heads=heads, key=size, value=size),) * _depth(fields)


def _dbrx(fields: Fields) -> Caches:
    below = fields.below("attn_config")
    size = head_size(fields)
    heads = (below.perhaps("kv_n_heads") if below else None) or fields.number(*_HEADS)
    return (Attention(heads=heads, key=size, value=size),) * _depth(fields)


def _whisper(fields: Fields) -> Caches:
    heads = fields.number("decoder_attention_heads")
    size = fields.number("d_model") // heads
    own = Attention(heads=heads, key=size, value=size)
    cross = Cross(heads=heads, key=size, value=size, length=fields.number("max_source_positions"))
    return (own, cross) * fields.number("decoder_layers")


def _t5(fields: Fields) -> Caches:
    heads, size = fields.number("num_heads"), fields.number("d_kv")
    own = Attention(heads=heads, key=size, value=size)
    cross = Cross(heads=heads, key=size, value=size, length=fields.number("n_positions"))
    return (own, cross) * fields.number("num_decoder_layers", "num_layers")


def _encoder(fields: Fields) -> Caches:
    """An encoder reads a text once and keeps nothing of it."""
    return ()


def _mixed(state: Callable[[Fields], Cache], layers: Callable[[Fields], str]) -> Callable[[Fields], Caches]:
    """A hybrid's reader: `layers` tells for each layer what it keeps, by letter."""

    def read(fields: Fields) -> Caches:
        found: list[Cache] = []
        for letter in layers(fields):
            if letter in (states.ATTENTION, states.BOTH):
                found.append(attention(fields))
            if letter in (states.STATE, states.BOTH):
                found.append(state(fields))
        return tuple(found)

    return read


def _all(reader: Callable[[Fields], Caches], *kinds: str) -> dict[str, Callable[[Fields], Caches]]:
    return dict.fromkeys(kinds, reader)


READERS: Mapping[str, Callable[[Fields], Caches]] = {
    **_all(
        _plain, "llama", "mixtral", "phi3", "starcoder2", "granite", "granitemoe", "ministral", "seed_oss"
    ),
    **_all(_plain, "gemma", "phi", "phimoe", "olmo", "olmo2", "olmoe", "stablelm", "cohere", "gpt2"),
    **_all(_plain, "gpt_neox", "gptj", "opt", "bloom", "internlm2", "internlm3", "baichuan", "exaone"),
    **_all(_plain, "glm", "glm4", "glm4_moe", "arcee", "nemotron", "minicpm", "chatglm", "smollm3"),
    **_all(_plain, "ernie4_5", "ernie4_5_moe", "hunyuan_v1_dense"),
    **_all(_mistral, "mistral"),
    **_all(_qwen, "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text"),
    **_all(_qwen, "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text"),
    **_all(_interleaved, "gemma2", "gemma3", "gemma3_text", "gpt_oss", "olmo3", "exaone4"),
    **_all(_shared, "gemma3n_text"),
    **_all(_cohere2, "cohere2"),
    **_all(_latent, "deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite", "deepseek_v32"),
    **_all(_falcon, "falcon"),
    **_all(_bigcode, "gpt_bigcode"),
    **_all(_dbrx, "dbrx"),
    **_all(_whisper, "whisper"),
    **_all(_t5, "t5", "mt5", "umt5"),
    **_all(_encoder, "bert", "roberta", "xlm-roberta", "modernbert", "distilbert"),
    "mamba": _mixed(states.mamba, states.all_states),
    "falcon_mamba": _mixed(states.mamba, states.all_states),
    "mamba2": _mixed(states.mamba2, states.all_states),
    "jamba": _mixed(states.jamba, states.jamba_layers),
    "bamba": _mixed(states.bamba, states.bamba_layers),
    "granitemoehybrid": _mixed(states.bamba, states.typed_layers),
    "falcon_h1": _mixed(states.falcon_h1, states.parallel_layers),
    "nemotron_h": _mixed(states.nemotron_h, states.nemotron_layers),
    "lfm2": _mixed(states.short_conv, states.typed_layers),
    "lfm2_moe": _mixed(states.short_conv, states.typed_layers),
    **_all(_mixed(states.gated_delta, states.typed_layers), "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
}
