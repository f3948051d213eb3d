"""A model dealt out to pipeline stages: each GPU, or each group of them, has some of its layers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, pairwise

from llm_atc.plan.architecture import Architecture
from llm_atc.plan.tensors import Tensor
from llm_atc.plan.weights import Weights, of_tensors

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)\.")
# Encoders of images and sounds have layers of their own, all on the first stage.
_TOWER = re.compile(r"(?:^|\.)(?:visual|vision\w*|image\w*|audio\w*|multi_modal_projector)\.")
_EMBEDDING = re.compile(r"embed|wte|wpe")
# What stands after the last layer; what has no layer and is not of these stands before the first.
_LAST = re.compile(r"(?:^|\.)(?:lm_head|output|norm|ln_f|final_layernorm|norm_f)\.")


def dealt(layers: int, stages: int) -> tuple[int, ...]:
    """How many layers each stage has. The rest of an uneven division goes to the last stages but one.

    Source: get_pp_indices in vLLM 0.32.0, distributed/utils.py, without VLLM_PP_LAYER_PARTITION.
    """
    each, rest = divmod(layers, stages)
    return tuple(each + (1 <= stages - 1 - stage <= rest) for stage in range(stages))


def cannot_deal(model: Architecture, stages: int) -> str | None:
    """Why the model cannot be dealt out to so many stages; None where it can."""
    return f"{model.layers} layers are fewer than {stages} stages" if model.layers < stages else None


def uneven(model: Architecture, stages: int) -> str | None:
    """What does not divide, in a sentence; None where each stage has as many layers as the others."""
    if model.layers % stages == 0:
        return None
    return f"the stages have {', '.join(map(str, dealt(model.layers, stages)))} layers"


def parts(model: Architecture, weights: Weights, stages: int) -> Iterator[tuple[Architecture, Weights]]:
    """Each stage's part of a model, as a model of its own.

    The first has the embedding, the last the output, which where the two are tied is the embedding again.
    Where layers share what another keeps, the caches are dealt out in proportion: an estimate.
    """
    if stages == 1:
        yield model, weights
        return
    ends = accumulate(dealt(model.layers, stages), initial=0)
    kept = len(model.caches)
    for first, end in pairwise(ends):
        caches = model.caches[first * kept // model.layers : end * kept // model.layers]
        yield replace(model, layers=end - first, caches=caches), _weights(model, weights, first, end, stages)


def _weights(model: Architecture, weights: Weights, first: int, end: int, stages: int) -> Weights:
    if not weights.tensors:
        return replace(weights, bytes=-(-weights.bytes // stages))
    return of_tensors(tensor for tensor in weights.tensors if _has(model, tensor, first, end))


def _has(model: Architecture, tensor: Tensor, first: int, end: int) -> bool:
    if _TOWER.search(tensor.name):
        return first == 0
    layer, last = _LAYER.search(tensor.name), end == model.layers
    if layer is not None:
        return first <= int(layer[1]) < end
    if _LAST.search(tensor.name):
        return last
    return first == 0 or (last and model.tied and _EMBEDDING.search(tensor.name) is not None)
