"""Whether a plan's model fits where it is to run: on the accelerators of a cloud, or on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from llm_atc.plan.accelerators import CHIPS, Accelerator
from llm_atc.plan.architecture import Architecture, Dtype
from llm_atc.plan.engine import EngineName, Machine
from llm_atc.plan.fit import Wish, gib, judge
from llm_atc.plan.fit_report import FitReport, Opinion, judge_gguf, report
from llm_atc.plan.options import Options
from llm_atc.plan.plan import ArgumentSet, Plan
from llm_atc.plan.preflight import Finding, Seen, copied, ok, refused, unknown, warning
from llm_atc.plan.tuning import CONTEXT, besides, wish_of
from llm_atc.plan.weights import loaded

GIB = 1024**3
# What vLLM on a CPU takes beside weights and KV cache: seen with tiny models (see docs/local.md).
VLLM_HERE = 3 * GIB // 2
# With this, a user binds vLLM's processes to cores by hand.
_BINDING = "VLLM_CPU_OMP_THREADS_BIND"


def fit_of(seen: Seen, concurrency: int) -> FitReport:
    """What is true of the model on each of the plan's accelerators, with the options that it gets there."""
    facts, plan = seen.facts, seen.plan

    def on(accelerators: tuple[Accelerator, ...], options: Options) -> FitReport:
        wish = wish_of(options, concurrency)
        return report(facts.spec.ref.name, facts.architecture, facts.weights, accelerators, wish)

    known = [one for one in plan.accelerators if one.chip is not None]
    each = [on((one,), seen.options_on(one)) for one in known] or [on((), seen.options)]
    return replace(each[0], opinions=tuple(opinion for found in each for opinion in found.opinions))


def completed(seen: Seen) -> Plan:
    """The plan with what nobody said, and vLLM is to be told on each of the accelerators that were named: how
    many GPUs share the model, the dtype, and the longest context that fits where the model's own does not.

    vLLM does not start with a context of which not even one request fits.
    """
    plan, shape = seen.plan, seen.facts.architecture
    if plan.place.local or plan.by_accelerator or plan.num_nodes > 1 or not isinstance(shape, Architecture):
        return plan
    if not seen.vllm or not plan.accelerators:
        return plan
    words = {one: besides(shape, seen.facts.weights, one, seen.options) for one in plan.accelerators}
    first, *others = words.values()
    notes = tuple(note for one, said in words.items() if (note := _shortened(shape, one, said)))
    plan = replace(plan, notes=(*plan.notes, *notes))
    if all(other == first for other in others):
        return replace(plan, arguments=(*plan.arguments, *first))
    sets = tuple(
        ArgumentSet(accelerator=one, arguments=(*plan.arguments, *said)) for one, said in words.items()
    )
    return replace(plan, arguments=sets[0].arguments, by_accelerator=sets)


def _shortened(shape: Architecture, accelerator: Accelerator, words: tuple[str, ...]) -> str | None:
    if CONTEXT not in words:
        return None
    return (
        f"Its own context of {shape.context} tokens does not fit on {accelerator}: "
        f"{words[words.index(CONTEXT) + 1]} are set. More, or fewer: {CONTEXT}."
    )


def fits(seen: Seen, machine: Machine | None) -> Iterator[Finding]:
    """Whether there is memory for it, on a cloud's accelerators or, with a `machine`, here."""
    if machine is not None:
        yield from _here(seen, machine)
        return
    if seen.plan.num_nodes > 1 or not seen.plan.accelerators:
        return
    known = [one for one in seen.plan.accelerators if one.chip is not None]
    if not known:
        yield unknown("fit", f"What {seen.plan.accelerators[0]} holds is not known to llm-atc.")
        return
    opinions = fit_of(seen, 1).opinions  # one request must fit; that more do is no condition of starting
    wrong = [one for one in opinions if one.fits is False]
    for one in opinions:
        yield _of_opinion(one, seen, stops=len(wrong) == len(known) and seen.vllm)


def _of_opinion(one: Opinion, seen: Seen, *, stops: bool) -> Finding:
    """`stops` says that the engine cannot start where it does not fit: llama.cpp leaves layers to the CPU."""
    if one.fits is None:
        return unknown("fit", f"{one.accelerator}: {one.reason}.")
    if one.fits:
        return ok("fit", f"{one.accelerator}: {one.reason}.")
    cure = one.options[0] if one.options else f"llm-atc fit {seen.facts.spec.ref.name}"
    make = refused if stops else warning
    return make("fit", f"It does not fit on {one.accelerator}: {one.reason}.", cure)


def _here(seen: Seen, machine: Machine) -> Iterator[Finding]:
    facts = seen.facts
    if copied(seen.plan) and machine.disk is not None and facts.weights.bytes > machine.disk:
        yield warning(
            "disk",
            f"{gib(facts.weights.bytes)} of weights are more than the {gib(machine.disk)} free on this disk. "
            "What is here already need not come again.",
            "llm-atc models",
        )
    yield from _ranks_here(seen, machine)
    if machine.gpus:
        yield from _gpus_here(seen, machine)
        return
    if seen.plan.engine is EngineName.VLLM:
        yield _vllm_here(seen, machine)
    elif machine.memory and facts.weights.bytes > machine.memory:
        yield warning(
            "fit",
            f"{gib(facts.weights.bytes)} of weights are more than the {gib(machine.memory)} free here: "
            "it will be very slow.",
            "a smaller quantization, such as :Q4_K_M",
        )


def _ranks_here(seen: Seen, machine: Machine) -> Iterator[Finding]:
    """Whether there is a GPU for each of vLLM's processes, or without GPUs a NUMA node: it binds them so."""
    ranks = seen.options.get("tensor_parallel_size", 1)
    elsewhere = _BINDING in dict(seen.plan.envs) or seen.options.get("distributed_executor_backend") == "ray"
    if not seen.vllm or not seen.pinned or not isinstance(ranks, int) or elsewhere:
        return
    have, what = (machine.gpus, "GPUs") if machine.gpus else (machine.nodes, "NUMA nodes, and no GPU")
    if ranks > have:
        says = f"{ranks} processes are asked for, and this machine has {have} {what}."
        yield refused("parallel", says, f"-- --tensor-parallel-size {have}")


def _vllm_here(seen: Seen, machine: Machine) -> Finding:
    facts, shape = seen.facts, seen.facts.architecture
    if not isinstance(shape, Architecture) or not machine.memory:
        return unknown("fit", "How much of this machine's memory it takes is not known.")
    cache = seen.options.get("kv_cache_memory_bytes")
    need = loaded(facts.weights, shape, shape.dtype or Dtype.BFLOAT16) + VLLM_HERE
    need += cache if isinstance(cache, int) else 0
    if need > machine.memory:
        return refused(
            "fit",
            f"It needs about {gib(need)} of memory, and {gib(machine.memory)} are free on this machine.",
            "a smaller or quantized model, or a cloud: --cloud aws --accelerator auto",
        )
    return ok("fit", f"It needs about {gib(need)} of this machine's free {gib(machine.memory)}.")


def _gpus_here(seen: Seen, machine: Machine) -> Iterator[Finding]:
    facts, name = seen.facts, _chip(machine.gpu or "")
    shape = facts.architecture
    if name is None or not isinstance(shape, Architecture):
        yield unknown("fit", f"What {machine.gpu} holds of this model is not known to llm-atc.")
        return
    ranks = seen.options.get("tensor_parallel_size")
    count = ranks if isinstance(ranks, int) else 1 if seen.vllm else machine.gpus
    one = Accelerator(name=name, count=count)
    wish: Wish = wish_of(seen.options, 1)
    found = (judge if seen.vllm else judge_gguf)(shape, facts.weights, one, wish)
    opinion = Opinion(
        accelerator=one,
        fits=found.fits,
        max_model_len=found.max_model_len,
        concurrency=found.concurrency,
        reason=found.reason,
        options=found.options,
    )
    yield _of_opinion(opinion, seen, stops=seen.vllm)


def _chip(gpu: str) -> str | None:
    """The catalogue's name of a GPU as nvidia-smi calls it: `NVIDIA A100-SXM4-80GB` is A100-80GB."""
    words = set(gpu.upper().replace("-", " ").split())
    fitting = [name for name in CHIPS if set(name.upper().split("-")) <= words]
    return max(fitting, key=len, default=None)
