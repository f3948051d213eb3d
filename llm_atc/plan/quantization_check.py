"""Whether vLLM reads a checkpoint in the quantization that it is stored in, or that was asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from llm_atc.plan.preflight import Finding, Seen, ok, refused, unknown, warning

# What vLLM calls the same quantization when it is run by another kernel: --quantization awq_marlin for awq.
_KERNELS = ("_marlin", "_gemm", "-marlin")
# Methods that take over what other methods stored, some of it; which is vLLM's to say.
_OVER_OTHERS = ("humming", "inc", "moe_wna16")
_CURE = "leave --quantization away: vLLM reads it from the checkpoint"


def quantized(seen: Seen) -> Iterator[Finding]:
    """What is to be said of it; nothing for a model that is not quantized, and not asked to be."""
    asked, stored = seen.options.get("quantization"), seen.facts.papers.quantization
    if not seen.vllm:
        return
    if not isinstance(asked, str):
        yield from _stored(seen, stored)
    elif seen.pinned and asked not in seen.known.quantizations:
        near = difflib.get_close_matches(asked, seen.known.quantizations, n=1)
        says = f"vLLM {seen.known.version} has no quantization called {asked}."
        yield refused("quantization", says, f"--quantization {near[0]}" if near else _CURE)
    elif stored and _same(asked, stored):
        yield ok("quantization", f"{stored}, as the checkpoint is stored.")
    elif stored and asked in _OVER_OTHERS:
        says = f"The checkpoint is quantized by {stored}; whether {asked} takes it is vLLM's to say."
        yield unknown("quantization", says)
    elif stored:
        says = f"The checkpoint is quantized by {stored}, and {asked} is asked for."
        yield refused("quantization", says, _CURE)
    elif _lacks(seen, asked):
        says = f"The checkpoint is not quantized, and {asked} is asked for."
        yield refused("quantization", says, "leave --quantization away, or take a quantized checkpoint")


def _stored(seen: Seen, stored: str | None) -> Iterator[Finding]:
    """A method that nobody knows is no refusal: vLLM has other names for some."""
    if stored and seen.pinned and not any(_same(one, stored) for one in seen.known.quantizations):
        yield warning(
            "quantization",
            f"The checkpoint is quantized by {stored}, which is no method of vLLM {seen.known.version}.",
            "another quantization of the model, or a GGUF of it with --backend llama-cpp",
        )


def _lacks(seen: Seen, method: str) -> bool:
    """Whether a method needs a file beside the weights, and it was seen not to be there."""
    needed, there = seen.known.quantizations.get(method, ()), seen.facts.papers.settings
    return bool(seen.pinned and needed and there) and not any(name.endswith(needed) for name in there)


def _same(asked: str, stored: str) -> bool:
    def stem(word: str) -> str:
        for kernel in _KERNELS:
            word = word.removesuffix(kernel)
        return word.removeprefix("auto_").replace("-", "_")

    one, other = stem(asked), stem(stored)
    return one.startswith(other) or other.startswith(one)
