"""What a GPU holds beside weights and KV cache: estimates all, each with its reason.

vLLM measures these when it starts. No test of this project measures them on a GPU; the numbers err on the
side of more, so that what is said to fit starts.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_atc.plan.accelerators import Chip
from llm_atc.plan.architecture import Architecture, Dtype
from llm_atc.plan.vllm import CURRENT, PinnedVllm

MIB = 1024**2
GIB = 1024**3
# Estimate: attention and cuBLAS workspaces, and what the allocator does not give back.
WORKSPACE = 256 * MIB
# Estimate: NCCL's channels and the buffers of vLLM's own all-reduce, for each rank of several.
COMMUNICATION = 512 * MIB
# Estimate: vLLM logs about half a GiB of CUDA graphs for models of 32 layers, at its default capture sizes.
GRAPHS_PER_LAYER = 16 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """vLLM's defaults for a chip: --max-num-batched-tokens and --max-num-seqs of an API server.

    Source: engine/arg_utils.py, get_batch_defaults: by the chip's memory, and A100 as if it had less.
    """

    tokens: int
    sequences: int


def batch(chip: Chip) -> Batch:
    """What vLLM takes on this chip when nothing is said."""
    if chip.usable >= 160:
        return Batch(tokens=16384, sequences=1024)
    if chip.usable >= 70 and "A100" not in chip.name:
        return Batch(tokens=8192, sequences=1024)
    return Batch(tokens=2048, sequences=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Bytes on one GPU, all estimates."""

    activations: int
    graphs: int
    communication: int
    workspace: int = WORKSPACE

    @property
    def total(self) -> int:
        """All of them."""
        return self.activations + self.graphs + self.communication + self.workspace


def overhead(
    model: Architecture, dtype: Dtype, ranks: int, sizes: Batch, pinned: PinnedVllm = CURRENT
) -> Overhead:
    """What vLLM needs beside weights and KV cache on each of `ranks` GPUs."""
    eager = "--enforce-eager" in pinned.arguments
    return Overhead(
        activations=activations(model, dtype, ranks, sizes),
        graphs=0 if eager else GRAPHS_PER_LAYER * model.layers,
        communication=COMMUNICATION if ranks > 1 else 0,
    )


def activations(model: Architecture, dtype: Dtype, ranks: int, sizes: Batch) -> int:
    """The peak of one forward pass over a full batch, and of sampling from it.

    For each token: the residual, normalized, and the attention's queries, keys, values and output, about six
    times the hidden size; gate, up and their product, three times the inner width, shared over ranks. For
    each sequence: logits over the whole vocabulary, and two copies in float32 that the sampler makes.
    """
    inner = 3 * model.inner * max(1, model.active) // ranks
    tokens = sizes.tokens * (6 * model.hidden + inner) * dtype.bytes
    return tokens + sizes.sequences * model.vocabulary * (dtype.bytes + 2 * Dtype.FLOAT32.bytes)
