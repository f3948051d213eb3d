"""What the cache is told by the task's variables, and where engines keep their files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What compiled code depends on, besides the engine's version: vLLM looks closer by itself.
_DECIDES = (
    "MODEL",
    "CACHE_REVISION",
    "ENGINE_ARGS",
    "ENGINE_ARGS_BY_ACCELERATOR",
    "SKYPILOT_NUM_GPUS_PER_NODE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Places in the bucket, with those of this disk. `weights` is None where no commit is pinned."""

    bucket: str
    weights: str | None
    snapshot: Path
    compiled: str
    compiled_here: Path


def read_config(environ: Mapping[str, str], home: Path, gpu: str) -> Config:
    """The places for this task on this machine. `gpu` is its GPU's name."""
    bucket, _, prefix = environ["CACHE"].removeprefix("s3://").strip("/").partition("/")
    start = f"{prefix}/" if prefix else ""
    revision, model = environ.get("CACHE_REVISION", ""), environ["MODEL"]
    repository = f"models--{model.replace('/', '--')}"
    engine = f"vllm-{environ['ENGINE_VERSION']}"
    caches = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(environ.get("HF_HUB_CACHE") or Path(environ.get("HF_HOME") or caches / "huggingface") / "hub")
    decides = "\0".join((gpu, str(home), *(environ.get(name, "") for name in _DECIDES)))
    pinned = _COMMIT.fullmatch(revision) is not None
    return Config(
        bucket=bucket,
        weights=f"{start}weights/{repository}/{revision}/vllm/" if pinned else None,
        snapshot=hub.expanduser() / repository / "snapshots" / revision,
        compiled=f"{start}compiled/{engine}/{hashlib.sha256(decides.encode()).hexdigest()[:32]}.tar.gz",
        compiled_here=Path(environ.get("VLLM_CACHE_ROOT") or caches / "vllm").expanduser(),
    )
