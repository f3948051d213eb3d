"""llama.cpp's llama-server: the pinned version, and the command line that a plan means."""

from __future__ import annotations

from llm_atc.plan.engine import EngineName, Pin
from llm_atc.plan.model import ModelSpec, Runner

KEY_VARIABLE = "LLAMA_API_KEY"
# llama-cpp-python's source distribution carries llama.cpp's whole source: its version pins llama-server.
PIN = Pin(engine=EngineName.LLAMA_CPP, version="0.3.36", requirements=("llama-cpp-python==0.3.36",))


def arguments(model: ModelSpec, *, gpus: int, used: int | None = None) -> tuple[str, ...]:
    """The options of llama-server for this model; with GPUs every layer is put there.

    `used` is how many of them are to be used. NVIDIA's are called CUDA0, CUDA1, … there.
    """
    found: list[str] = ["--alias", model.ref.name, "--metrics"]
    if gpus:
        found += ["--n-gpu-layers", "999"]
        if used is not None and used < gpus:
            found += ["--device", ",".join(f"CUDA{number}" for number in range(used))]
    if model.runner is Runner.POOLING:
        found += ["--embeddings", "--pooling", "mean"]
    return tuple(found)
