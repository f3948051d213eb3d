"""All that `llm-atc fit` tells of a model, as one value and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_atc.plan.accelerators import CHIPS, Accelerator, unknown_accelerator
from llm_atc.plan.architecture import Architecture, Dtype, Unknown
from llm_atc.plan.fit import COUNTS, LEAST_CONTEXT, USUAL, Split, Verdict, Wish, gib, judge
from llm_atc.plan.gguf_config import offload
from llm_atc.plan.keys import GPU_MEMORY
from llm_atc.plan.kv_cache import PerToken, per_token
from llm_atc.plan.overhead import GIB, MIB
from llm_atc.plan.price import daily, rounded, token_price
from llm_atc.plan.weights import Weights

# Estimate: llama.cpp's compute buffers and the CUDA context, on each GPU.
LLAMA_OVERHEAD = 768 * MIB
# llama.cpp's contexts are multiples of this many cells (llama_context, n_ctx padding).
CELLS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A verdict, or that there is none: `fits` is None where the model's shape is not known."""

    accelerator: Accelerator
    fits: bool | None
    max_model_len: int | None
    concurrency: int | None
    reason: str
    options: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    split: Split | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What was found out about a model; `cache` is None where its shape is not known: `unknown` says why.

    `asked` is how many requests at once were asked for; `hourly` US dollars of the cheapest machine with an
    accelerator, where that is known.
    """

    model: str
    weights: Weights
    cache: PerToken | None
    window: int | None
    context: int | None
    unknown: str | None
    opinions: tuple[Opinion, ...]
    asked: int = 1
    hourly: Mapping[Accelerator, float] = field(default_factory=dict)

    def on(self, accelerator: Accelerator) -> Opinion | None:
        """What is true on this accelerator; None where nobody judged it."""
        return next((one for one in self.opinions if one.accelerator == accelerator), None)

    def token_price(self, opinion: Opinion) -> float | None:
        """US dollars for a million tokens there, by the hourly price: an estimate."""
        return token_price(self.hourly.get(opinion.accelerator), opinion, self.asked)

    def facts(self) -> dict[str, Any]:
        """As `--json` prints it. Bytes are of the whole model, prices US dollars; null: not known."""
        cache = self.cache
        return {
            "model": self.model,
            "weights": {"bytes": self.weights.bytes, "parameters": self.weights.parameters},
            "kv_cache": {
                "bytes_per_token": cache.all if cache else None,
                "bytes_per_token_full": cache.full if cache else None,
                "bytes_per_token_windowed": cache.windowed if cache else None,
                "window": self.window,
                "state_bytes_per_sequence": cache.state if cache else None,
            },
            "verdicts": [
                {
                    "accelerator": one.accelerator.name,
                    "count": one.accelerator.count,
                    "fits": one.fits,
                    "max_model_len": one.max_model_len,
                    "concurrency": one.concurrency,
                    "reason": one.reason,
                    "hourly": (price := self.hourly.get(one.accelerator)),
                    "daily": None if price is None else rounded(daily(price)),
                    "dollars_per_million_tokens": rounded(self.token_price(one)),
                }
                for one in self.opinions
            ],
        }


def report(
    model: str,
    architecture: Architecture | Unknown,
    weights: Weights,
    accelerators: Sequence[Accelerator],
    wish: Wish,
) -> FitReport:
    """Everything about this model on these accelerators, or on the usual ones. May raise OfferError."""
    chosen = tuple(accelerators) or tuple(Accelerator(name=n, count=c) for n in USUAL for c in COUNTS)
    for one in chosen:
        if one.chip is None:
            raise unknown_accelerator(one, tuple(CHIPS))
    if isinstance(architecture, Unknown):
        opinions = tuple(_no_opinion(architecture, weights, one) for one in chosen)
        return FitReport(
            model=model,
            weights=weights,
            cache=None,
            window=None,
            context=None,
            unknown=architecture.reason,
            opinions=opinions,
        )
    gguf = architecture.quantization == "gguf"
    dtype = wish.dtype or _half(architecture)
    verdicts = tuple(
        judge_gguf(architecture, weights, one, wish) if gguf else judge(architecture, weights, one, wish)
        for one in chosen
    )
    return FitReport(
        model=model,
        weights=weights,
        cache=per_token(architecture, wish.kv or architecture.kv or dtype, dtype),
        window=architecture.window,
        context=architecture.context,
        unknown=None,
        opinions=tuple(_opinion(one) for one in verdicts),
        asked=wish.concurrency,
    )


def judge_gguf(model: Architecture, weights: Weights, accelerator: Accelerator, wish: Wish) -> Verdict:
    """What llama.cpp can do there: layers go to the GPUs as far as they fit, others to the processor."""
    chip = accelerator.chip
    if chip is None:
        raise unknown_accelerator(accelerator)
    memory = accelerator.count * (int(chip.usable * GIB) - LLAMA_OVERHEAD)

    def whole(cells: int) -> bool:
        return offload(model, weights.tensors, memory, cells * CELLS * wish.concurrency).whole

    most = -(-(model.context or 4096) // CELLS)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if whole(middle) else (low, middle - 1)
    longest = min(low * CELLS, model.context or low * CELLS)
    length = wish.max_model_len or min(most * CELLS, max(longest, LEAST_CONTEXT))
    on = offload(model, weights.tensors, memory, length * wish.concurrency)
    fits = on.whole and length <= (model.context or length)
    each = per_token(model, Dtype.FLOAT16, Dtype.FLOAT16).all
    left = memory - offload(model, weights.tensors, memory, 0).bytes
    return Verdict(
        accelerator=accelerator,
        fits=fits,
        max_model_len=longest,
        concurrency=max(0, left // (each * length)) if each and length else 0,
        reason=(
            f"llama.cpp puts {on.on} of {on.layers} layers on the GPU (--gpu-layers {on.on}), "
            f"with a context of {length}"
        ),
    )


def _half(model: Architecture) -> Dtype:
    return Dtype.FLOAT16 if model.dtype is Dtype.FLOAT16 else Dtype.BFLOAT16


def _opinion(verdict: Verdict) -> Opinion:
    return Opinion(
        accelerator=verdict.accelerator,
        fits=verdict.fits,
        max_model_len=verdict.max_model_len,
        concurrency=verdict.concurrency,
        reason=verdict.reason,
        options=verdict.options,
        notes=verdict.notes,
        split=verdict.split,
    )


def _no_opinion(model: Unknown, weights: Weights, accelerator: Accelerator) -> Opinion:
    """Of a model whose shape is not known: no, where its weights alone are too much, and else no opinion."""
    chip = accelerator.chip
    room = int((chip.usable if chip else 0) * GIB * GPU_MEMORY) * accelerator.count
    if weights.bytes > room:
        return Opinion(
            accelerator=accelerator,
            fits=False,
            max_model_len=0,
            concurrency=0,
            reason=f"its weights alone ({gib(weights.bytes)}) are more than the {gib(room)} that vLLM uses",
        )
    return Opinion(
        accelerator=accelerator,
        fits=None,
        max_model_len=None,
        concurrency=None,
        reason=f"unknown: {model.reason}",
    )
