"""How much a model's weights take: exactly, from the headers of its files, and on each GPU that shares them.

What vLLM 0.32.0 splits over tensor-parallel ranks and what it repeats on each is read from its layers: linear
layers, experts and embeddings are split; norms, routers and the way down into MLA's latent are repeated;
key and value heads are repeated when there are fewer than ranks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llm_atc.plan.architecture import Architecture, Attention, Cross, Dtype, Latent, State
from llm_atc.plan.tensors import Tensor

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
# Tensors that stand beside packed weights, and are no parameters of the model.
_BESIDE = re.compile(
    r"(_scales?|_scale_inv|scales|qzeros|g_idx|absmax|quant_map|nested_.*|quant_state.*|zero_point|weight_shape"
    r"|_scale_2|input_scale|k_scale|v_scale|weight_g_idx)$"
)
# Stored in words that hold several weights: 32 bits of GPTQ, AWQ and compressed-tensors, or bytes of two.
_WORDS = re.compile(r"(qweight|weight_packed)$")
_REPEATED = re.compile(
    r"(norm|(^|\.)gate\.(weight|e_score)|router|q_a_proj|kv_a_proj|rotary|inv_freq|position|pos_emb|e_score_corr)"
)
_KEYS = re.compile(r"\.(k_proj|v_proj|key|value)\.")
# The decay of Mamba and of linear attention is kept in float32 (model_executor/layers/mamba/).
_DECAY = re.compile(r"(^|\.)A_log$")
_HEAD = re.compile(r"(^|\.)lm_head\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the files hold of one dtype, in the format's own word for it."""

    dtype: str
    bytes: int
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """All weights of a model. `exact` is False where only files' sizes are known, as of PyTorch's .bin."""

    bytes: int
    parameters: int | None
    stored: tuple[Stored, ...] = ()
    tensors: tuple[Tensor, ...] = field(default=(), repr=False)
    exact: bool = True


def of_tensors(tensors: Iterable[Tensor], *, bits: int | None = None) -> Weights:
    """The weights that these tensors are; `bits` is what a quantization that packs words says of a weight."""
    kept = tuple(tensors)
    found: dict[str, list[int]] = {}
    for tensor in kept:
        one = found.setdefault(tensor.dtype, [0, 0])
        one[0] += tensor.bytes
        one[1] += parameters(tensor, bits)
    stored = tuple(Stored(dtype=k, bytes=b, parameters=n) for k, (b, n) in sorted(found.items()))
    return Weights(
        bytes=sum(one.bytes for one in stored),
        parameters=sum(one.parameters for one in stored),
        stored=stored,
        tensors=kept,
    )


def of_sizes(files: Mapping[str, int], names: Iterable[str]) -> Weights:
    """The weights in files that have no header to read: their sizes on disk, a little more than weights."""
    return Weights(bytes=sum(files[name] for name in names), parameters=None, exact=False)


def parameters(tensor: Tensor, bits: int | None = None) -> int:
    """How many of the model's parameters a tensor holds: packed ones count each, scales count none."""
    if _BESIDE.search(tensor.name):
        return 0
    if tensor.dtype in ("I32", "U32") and _WORDS.search(tensor.name):
        return tensor.values * 32 // (bits or 4)
    if tensor.dtype == "U8":
        return tensor.values * 2
    return tensor.values


def loaded(weights: Weights, model: Architecture, dtype: Dtype, ranks: int = 1) -> int:
    """Bytes on one of `ranks` GPUs, as vLLM loads them.

    Floats become the dtype that the model computes in unless it is quantized; an output layer that is tied to
    the embedding is not loaded a second time.
    """
    if not weights.tensors:
        return -(-weights.bytes // ranks)
    tied = model.tied and any("embed" in one.name or "wte" in one.name for one in weights.tensors)
    return sum(
        _on_rank(tensor, _size(tensor, model, dtype), model, ranks)
        for tensor in weights.tensors
        if not (tied and _HEAD.search(tensor.name))
    )


def _size(tensor: Tensor, model: Architecture, dtype: Dtype) -> int:
    if _DECAY.search(tensor.name):
        return tensor.values * Dtype.FLOAT32.bytes
    if model.quantization is None and tensor.dtype in _FLOATS:
        return tensor.values * dtype.bytes
    return tensor.bytes


def _on_rank(tensor: Tensor, size: int, model: Architecture, ranks: int) -> int:
    if len(tensor.shape) < 2 or _REPEATED.search(tensor.name):
        return size
    if _KEYS.search(tensor.name):
        return -(-size // min(ranks, max(1, _kv_heads(model))))
    return -(-size // ranks)


def _kv_heads(model: Architecture) -> int:
    return min((cache.heads for cache in model.caches if isinstance(cache, Attention)), default=model.heads)


def cannot_share(model: Architecture, ranks: int) -> str | None:
    """Why vLLM does not start this model on so many tensor-parallel ranks; None when it does.

    Sources: verify_with_parallel_config (config/model.py) for query heads; the linear layers' and the state
    layers' own checks (model_executor/layers/linear.py, mamba/mamba_utils.py) for the others.
    """
    if ranks == 1:
        return None
    if model.heads and model.heads % ranks:
        return f"{model.heads} attention heads cannot be shared by {ranks} GPUs evenly"
    for cache in model.caches:
        said = _uneven(cache, ranks)
        if said is not None:
            return said
    return None


def _uneven(cache: Attention | Latent | State | Cross, ranks: int) -> str | None:
    if isinstance(cache, Attention | Cross) and cache.heads % ranks and ranks % cache.heads:
        return f"{cache.heads} key-value heads and {ranks} GPUs: neither divides the other"
    if isinstance(cache, State) and (cache.channels % ranks or cache.recurrent % ranks):
        return f"the layers' states cannot be shared by {ranks} GPUs evenly"
    return None


def repeated(model: Architecture, ranks: int) -> str | None:
    """What every rank keeps whole, in a sentence; None when the KV cache is shared evenly."""
    if ranks == 1:
        return None
    if any(isinstance(cache, Latent) for cache in model.caches):
        return f"each of {ranks} GPUs keeps all of the latent KV cache"
    heads = _kv_heads(model)
    if any(isinstance(cache, Attention) for cache in model.caches) and heads < ranks:
        return f"{heads} key-value heads are repeated on {ranks} GPUs"
    return None
