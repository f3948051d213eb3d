"""A GGUF file's keys as an `Architecture`, and how many of its layers a GPU holds under llama.cpp.

llama.cpp keeps keys and values in float16 for every cell of the context, without blocks. Source of the keys:
the GGUF specification (ggml/docs/gguf.md); of the memory: src/llama-kv-cache.cpp of llama.cpp.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from llm_atc.plan.architecture import Architecture, Attention, Cache, Dtype, Unknown
from llm_atc.plan.gguf import Gguf
from llm_atc.plan.tensors import Tensor

_LAYER = re.compile(r"blk\.(\d+)\.")


def read_gguf_architecture(read: Gguf) -> Architecture | Unknown:
    """The shape that the keys describe; `Unknown` where they tell of states or latents."""
    name = str(read.keys.get("general.architecture", "?"))
    layers, heads, hidden = (
        read.number(key) for key in ("block_count", "attention.head_count", "embedding_length")
    )
    if not layers or not heads or not hidden:
        return Unknown(name=name, reason="its header does not say how many layers and heads it has")
    if read.number("ssm.state_size") or read.number("attention.kv_lora_rank"):
        return Unknown(
            name=name, reason="its header tells of states or latents, which llm-atc does not count yet"
        )
    size = hidden // heads
    return Architecture(
        name=name,
        layers=layers,
        caches=_caches(read, layers, heads, size),
        hidden=hidden,
        heads=heads,
        vocabulary=read.length("tokenizer.ggml.tokens") or 0,
        context=read.number("context_length"),
        dtype=Dtype.FLOAT16,
        experts=read.number("expert_count") or 0,
        active=read.number("expert_used_count") or 0,
        inner=read.number("feed_forward_length") or 0,
        quantization="gguf",
    )


def _caches(read: Gguf, layers: int, heads: int, size: int) -> tuple[Cache, ...]:
    said = read.keys.get(f"{read.keys.get('general.architecture')}.attention.head_count_kv")
    each = [int(one) for one in said if isinstance(one, int)] if isinstance(said, tuple) else []
    kv = each or [read.number("attention.head_count_kv") or heads] * layers
    key, value = read.number("attention.key_length") or size, read.number("attention.value_length") or size
    return tuple(Attention(heads=one, key=key, value=value) for one in kv if one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """llama.cpp's layers: `on` of `layers` fit on the GPU (`--gpu-layers`), `bytes` is what all would take.

    The output layer counts as one more, as llama.cpp counts.
    """

    on: int
    layers: int
    bytes: int

    @property
    def whole(self) -> bool:
        """Whether nothing is left to the processor."""
        return self.on == self.layers


def offload(model: Architecture, tensors: Iterable[Tensor], memory: int, context: int) -> Offload:
    """How many layers this many bytes hold, weights and keys and values for `context` tokens together.

    llama.cpp puts the last layers on the GPU first; the token embedding stays in the machine's own memory.
    """
    sizes: Counter[int] = Counter()
    output = 0
    for tensor in tensors:
        found = _LAYER.match(tensor.name)
        if found:
            sizes[int(found[1])] += tensor.bytes
        elif not tensor.name.startswith("token_embd"):
            output += tensor.bytes
    kept = sum(cache.values() for cache in model.caches if isinstance(cache, Attention))
    each = kept * Dtype.FLOAT16.bytes * context // max(1, model.layers)
    needs = [output, *(sizes[layer] + each for layer in reversed(range(model.layers)))]
    on, left = 0, memory
    for need in needs:
        left -= need
        if left < 0:
            break
        on += 1
    return Offload(on=on, layers=len(needs), bytes=sum(needs))
