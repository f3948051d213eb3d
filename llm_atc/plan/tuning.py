"""How an engine is set for a model on each accelerator: parallelism, dtype and context that fit there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.architecture import Architecture, Dtype
from llm_atc.plan.capability import AMPERE, computes_in
from llm_atc.plan.engine import EngineName
from llm_atc.plan.fit import Verdict, Wish, judge
from llm_atc.plan.fit_report import judge_gguf
from llm_atc.plan.options import Options
from llm_atc.plan.vllm import pin_for
from llm_atc.plan.weights import Weights, cannot_share

# Where nobody says how long a context must be, an accelerator is chosen that holds so many tokens, or the
# model's own context where that is shorter: less is seldom of use.
USEFUL_CONTEXT = 4096
CONTEXT = "--max-model-len"
_DTYPES = {"half": "float16", "float": "float32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A model that fits on an accelerator, and the engine's options for it there, but for the user's own."""

    verdict: Verdict
    arguments: tuple[str, ...]


Tuner = Callable[[Accelerator], Tuned | None]


def wish_of(options: Options, concurrency: int) -> Wish:
    """What the user's own engine options ask of a machine's memory."""
    length = options.get("max_model_len", options.get("ctx_size"))
    ranks, share = options.get("tensor_parallel_size"), options.get("gpu_memory_utilization")
    stages = options.get("pipeline_parallel_size")
    return Wish(
        max_model_len=length if isinstance(length, int) and length > 0 else None,
        concurrency=concurrency,
        dtype=_dtype(options.get("dtype")),
        kv=Dtype.FP8 if str(options.get("kv_cache_dtype", "")).startswith("fp8") else None,
        ranks=ranks if isinstance(ranks, int) else None,
        stages=stages if isinstance(stages, int) and stages > 0 else 1,
        share=share if isinstance(share, float | int) else None,
    )


def _dtype(word: object) -> Dtype | None:
    name = _DTYPES.get(str(word), str(word))
    return Dtype(name) if name in [one.value for one in Dtype] else None


def tune(
    model: Architecture, weights: Weights, engine: EngineName, accelerator: Accelerator, wish: Wish
) -> Tuned | None:
    """How the engine is set there; None where the model does not fit, or nothing is known of the chip.

    Tensor parallelism takes all GPUs, or as many of them as can share the model evenly.
    """
    if accelerator.chip is None:
        return None
    if engine is EngineName.LLAMA_CPP:
        verdict = judge_gguf(model, weights, accelerator, wish)
        return (
            Tuned(verdict=verdict, arguments=_context(model, verdict, wish, "--ctx-size"))
            if (_enough(model, verdict, wish))
            else None
        )
    ranks = (wish.ranks,) if wish.ranks else _shares(accelerator.count // wish.stages)
    for number in ranks:
        verdict = judge(model, weights, accelerator, replace(wish, ranks=number))
        if _enough(model, verdict, wish):
            return Tuned(verdict=verdict, arguments=_vllm(model, accelerator, verdict, wish, number))
    return None


def besides(
    model: Architecture, weights: Weights, accelerator: Accelerator, said: Options
) -> tuple[str, ...]:
    """What vLLM is to be told on an accelerator that was named, of what its options do not say yet."""
    ranks, found = None, []
    wish = wish_of(said, 1)
    if accelerator.count > 1 and "tensor_parallel_size" not in said:
        most = _shares(accelerator.count // wish.stages)
        ranks = next((number for number in most if cannot_share(model, number) is None), 1)
        found += ["--tensor-parallel-size", str(ranks)]
    if accelerator.chip is None:
        return tuple(found)
    if "dtype" not in said and accelerator.chip.capability < AMPERE:
        found += ["--dtype", str(computes_in(model, accelerator.chip, None))]
    verdict = judge(model, weights, accelerator, replace(wish, ranks=ranks or wish.ranks))
    if verdict.fits and "max_model_len" not in said:
        found += _context(model, verdict, wish, CONTEXT)
    return tuple(found)


def together(first: Accelerator, other: Accelerator) -> bool:
    """Whether one installation of vLLM serves both: the pinned version is chosen before the machine is."""
    return pin_for((first,)) == pin_for((other,))


def _shares(count: int) -> tuple[int, ...]:
    return tuple(number for number in range(count, 0, -1) if count % number == 0)


def _enough(model: Architecture, verdict: Verdict, wish: Wish) -> bool:
    if not verdict.fits or wish.max_model_len is not None:
        return verdict.fits
    return verdict.max_model_len >= min(model.context or USEFUL_CONTEXT, USEFUL_CONTEXT)


def _vllm(
    model: Architecture, accelerator: Accelerator, verdict: Verdict, wish: Wish, ranks: int
) -> tuple[str, ...]:
    pinned, chip = pin_for((accelerator,)), accelerator.chip
    found = list(pinned.arguments) if pinned else []
    if accelerator.count > 1 and wish.ranks is None:  # left unsaid, the task would take all of them
        found = ["--tensor-parallel-size", str(ranks), *found]
    if wish.dtype is None and "--dtype" not in found and chip is not None and chip.capability < AMPERE:
        found += ["--dtype", str(computes_in(model, chip, None))]
    return (*found, *_context(model, verdict, wish, CONTEXT))


def _context(model: Architecture, verdict: Verdict, wish: Wish, flag: str) -> tuple[str, ...]:
    """The longest context that fits, where the model's own does not and the user has not said any."""
    if wish.max_model_len is not None or model.context is None or verdict.max_model_len >= model.context:
        return ()
    return (flag, str(verdict.max_model_len))
