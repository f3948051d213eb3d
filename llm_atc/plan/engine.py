"""What every engine has in common: a name, a pinned version, an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EngineName(StrEnum):
    """The engines that run models."""

    VLLM = "vllm"
    LLAMA_CPP = "llama-cpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One version of an engine, and how its package is asked for.

    `requirements` go to `uv pip install` as they are; `environment` names the folder that holds them.
    """

    engine: EngineName
    version: str
    requirements: tuple[str, ...]

    @property
    def environment(self) -> str:
        """The folder's name under `~/.llm-atc/engines`, the same on every machine."""
        return f"{self.engine}-{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What an engine must know of the machine it runs on; memory and disk are bytes that are free now.

    `gpu` is the name of the first NVIDIA GPU and `gpus` their number; `nodes` is the number of NUMA nodes;
    `compiler` says whether g++ is there.
    """

    cpus: int
    memory: int
    gpu: str | None = None
    gpus: int = 0
    compiler: bool = False
    disk: int | None = None
    nodes: int = 1
