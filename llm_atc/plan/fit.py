"""Whether a model fits on accelerators, how long a context, how many requests, and what to change if not.

Of each GPU's memory vLLM takes a share (--gpu-memory-utilization); weights and overhead go off it, and the
rest is KV cache: see `weights`, `overhead` and `kv_cache`. Sizes are bytes, and one GPU's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llm_atc.plan.accelerators import Accelerator, Chip, unknown_accelerator
from llm_atc.plan.architecture import Architecture, Dtype
from llm_atc.plan.capability import ADA, FP8_LOWEST, computes_in, refusal, remark
from llm_atc.plan.keys import GPU_MEMORY
from llm_atc.plan.kv_cache import CUDA, LONGEST, Pool, pool
from llm_atc.plan.overhead import GIB, MIB, Batch, batch, overhead
from llm_atc.plan.stages import cannot_deal, parts, uneven
from llm_atc.plan.vllm import CURRENT, PinnedVllm, pin_for
from llm_atc.plan.weights import Weights, cannot_share, loaded, repeated

# Without a wish, a model fits when a context of so many tokens does, or its own where that is shorter.
LEAST_CONTEXT = 1024
COUNTS = (1, 2, 4, 8)
# What is looked at when no accelerator is named: those that clouds sell most.
USUAL = ("T4", "V100", "L4", "A10G", "L40S", "A100", "A100-80GB", "H100", "H200", "B200")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of the model. None is what llm-atc does by itself; `ranks` is
    --tensor-parallel-size, `stages` --pipeline-parallel-size, `share` --gpu-memory-utilization."""

    max_model_len: int | None = None
    concurrency: int = 1
    dtype: Dtype | None = None
    kv: Dtype | None = None
    ranks: int | None = None
    stages: int = 1
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Where one GPU's memory goes. `kv` is what the wished-for requests take, `free` what more may take;
    `outside` is left to the driver and to others."""

    weights: int
    kv: int
    overhead: int
    free: int
    outside: int

    @property
    def total(self) -> int:
        """The memory that a program gets."""
        return self.weights + self.kv + self.overhead + self.free + self.outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is true of a model on some accelerators.

    `max_model_len` is the longest context of which the wished-for number of requests fits at once;
    `concurrency` how many fit at the wished-for context, or at that longest. `options` would help, each as a
    sentence with what to type.
    """

    accelerator: Accelerator
    fits: bool
    max_model_len: int
    concurrency: int
    reason: str
    options: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    split: Split | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One GPU of some that share the model: what goes off its memory, and what is left for the KV cache."""

    memory: int
    budget: int
    weights: int
    overhead: int
    pool: Pool

    @property
    def cache(self) -> int:
        """Bytes for the KV cache; below zero when even the rest does not fit."""
        return self.budget - self.weights - self.overhead


def judge(model: Architecture, weights: Weights, accelerator: Accelerator, wish: Wish) -> Verdict:
    """What is true of this model there. OfferError for an accelerator that nobody knows."""
    chip = accelerator.chip
    if chip is None:
        raise unknown_accelerator(accelerator)
    dtype = computes_in(model, chip, wish.dtype)
    kv = wish.kv or model.kv or dtype
    pinned = pin_for((accelerator,))
    ranks = wish.ranks or max(1, accelerator.count // wish.stages)
    said = _impossible(model, chip, accelerator, dtype, kv, pinned, ranks, wish.stages)
    if said is not None or pinned is None:
        return _refused(accelerator, said or f"no vLLM that llm-atc pins has code for {chip.name}")
    rooms = [
        room(part, its, chip, ranks, dtype, kv, pinned, share=wish.share)
        for part, its in parts(model, weights, wish.stages)
    ]
    verdict, at = _tightest(model, rooms, accelerator, wish)
    found = (
        *(repeated(model, ranks), uneven(model, wish.stages), remark(model, chip, kv), pinned.why),
        _idle(accelerator, ranks * wish.stages),
    )
    notes = tuple(note for note in found if note)
    if verdict.fits:
        return replace(verdict, notes=notes)
    changes = Changes(model=model, weights=weights, accelerator=accelerator, wish=wish, room=at)
    return replace(verdict, notes=notes, options=tuple(changes.options(chip, verdict.max_model_len)))


def room(
    model: Architecture,
    weights: Weights,
    chip: Chip,
    ranks: int,
    dtype: Dtype,
    kv: Dtype,
    pinned: PinnedVllm = CURRENT,
    sizes: Batch | None = None,
    share: float | None = None,
) -> Room:
    """The memory of one of `ranks` such chips."""
    sizes = sizes or batch(chip)
    memory = int(chip.usable * GIB)
    return Room(
        memory=memory,
        budget=int(memory * (share or GPU_MEMORY)),
        weights=loaded(weights, model, dtype, ranks),
        overhead=overhead(model, dtype, ranks, sizes, pinned).total,
        pool=pool(model, kv, dtype, ranks=ranks, platform=replace(CUDA, batch=sizes.tokens)),
    )


def _impossible(
    model: Architecture,
    chip: Chip,
    accelerator: Accelerator,
    dtype: Dtype,
    kv: Dtype,
    pinned: PinnedVllm | None,
    ranks: int,
    stages: int,
) -> str | None:
    if pinned is None:
        return None
    if ranks * stages > accelerator.count:
        words = f"--tensor-parallel-size {ranks}" + (
            f" with --pipeline-parallel-size {stages}" if stages > 1 else ""
        )
        return f"{words} needs {ranks * stages} GPUs, and {accelerator} has {accelerator.count}"
    return refusal(model, chip, dtype, kv) or cannot_share(model, ranks) or cannot_deal(model, stages)


def _tightest(
    model: Architecture, rooms: list[Room], accelerator: Accelerator, wish: Wish
) -> tuple[Verdict, Room]:
    """Of the stages the one that holds least: vLLM gives all of them as many blocks as it has."""
    verdicts = [(_judged(model, at, accelerator, wish), at) for at in rooms]
    return min(verdicts, key=lambda one: (one[0].fits, one[0].max_model_len, one[0].concurrency))


def _refused(accelerator: Accelerator, reason: str) -> Verdict:
    return Verdict(accelerator=accelerator, fits=False, max_model_len=0, concurrency=0, reason=reason)


def _judged(model: Architecture, at: Room, accelerator: Accelerator, wish: Wish) -> Verdict:
    most = model.context or LONGEST
    longest = at.pool.longest(at.cache, most, wish.concurrency) if at.cache > 0 else 0
    asked = wish.max_model_len
    length = asked or longest
    fits = longest >= (asked or min(most, LEAST_CONTEXT))
    concurrency = at.pool.concurrency(at.cache, length) if length and at.cache > 0 else 0
    kv = at.pool.bytes(length, wish.concurrency) if fits else max(0, at.cache)
    rest = at.cache - kv
    return Verdict(
        accelerator=accelerator,
        fits=fits,
        max_model_len=longest,
        concurrency=concurrency,
        reason=_reason(model, at, wish, longest, fits),
        split=Split(
            weights=at.weights,
            kv=kv,
            overhead=at.overhead,
            free=max(0, rest),
            outside=max(0, at.memory - at.weights - kv - at.overhead - max(0, rest)),
        ),
    )


def _reason(model: Architecture, at: Room, wish: Wish, longest: int, fits: bool) -> str:
    if at.cache <= 0:
        return (
            f"weights ({gib(at.weights)}) and overhead ({gib(at.overhead)}) take more than "
            f"the {gib(at.budget)} that vLLM uses of each GPU"
        )
    asked = wish.max_model_len
    if asked is not None and model.context is not None and asked > model.context:
        return f"the model was made for {model.context} tokens, and {asked} are asked for"
    each = "" if wish.concurrency == 1 else f" for each of {wish.concurrency} requests"
    if fits and model.context is not None and longest < model.context and asked is None:
        return f"fits with --max-model-len {longest}{each}; the model's own context is {model.context}"
    if fits:
        return f"{gib(at.cache)} are left for the KV cache"
    return f"{gib(at.cache)} are left for the KV cache, which is {longest} tokens{each}"


def _idle(accelerator: Accelerator, ranks: int) -> str | None:
    return f"{accelerator.count - ranks} of its GPUs stay idle" if ranks < accelerator.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What could be changed about a wish that cannot be granted."""

    model: Architecture
    weights: Weights
    accelerator: Accelerator
    wish: Wish
    room: Room

    def options(self, chip: Chip, longest: int) -> Iterator[str]:
        """Each change that helps by itself, the gentlest first."""
        least = min(self.model.context or LEAST_CONTEXT, LEAST_CONTEXT)
        if self.wish.max_model_len is not None and longest >= least:
            yield f"a shorter context: --max-model-len {longest}"
        if self.room.cache > 0 and chip.capability >= ADA and self.wish.kv is None and self._with_fp8():
            yield "a KV cache in FP8: --kv-cache-dtype fp8"
        eight = self.model.quantization is None and chip.capability >= FP8_LOWEST
        if eight and self._needs(self.room.weights // 2):
            yield "weights in FP8: -- --quantization fp8, or a quantized checkpoint"
        elif self.model.quantization is None and self._needs(self.room.weights * 3 // 10):
            yield "a checkpoint quantized to 4 bits (AWQ, GPTQ)"
        more = self._more()
        if more is not None:
            yield f"more GPUs: --accelerator {more}"

    def _with_fp8(self) -> bool:
        wish = replace(self.wish, kv=Dtype.FP8)
        return judge(self.model, self.weights, self.accelerator, wish).fits

    def _needs(self, weights: int) -> bool:
        at = replace(self.room, weights=weights)
        return _judged(self.model, at, self.accelerator, self.wish).fits

    def _more(self) -> Accelerator | None:
        """The next number of the same chips that is enough."""
        chip = self.accelerator.chip
        if chip is None or self.wish.stages > 1:
            return None
        for count in (count for count in (*COUNTS, 16) if count > self.accelerator.count):
            dtype = computes_in(self.model, chip, self.wish.dtype)
            kv = self.wish.kv or self.model.kv or dtype
            if cannot_share(self.model, count) is None:
                at = room(self.model, self.weights, chip, count, dtype, kv)
                if _judged(self.model, at, self.accelerator, self.wish).fits:
                    return replace(self.accelerator, count=count)
        return None


def gib(size: int) -> str:
    """A size for people, in GiB; in MiB where it is small."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / MIB:.1f} MiB"
