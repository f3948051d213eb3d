"""`python -m llm_atc.cache take|put`, on a cloud machine; ends with 0 whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from llm_atc.cache import compiled, weights
from llm_atc.cache.bucket import Bucket
from llm_atc.cache.config import Config, read_config

GIB = 1024**3


def main() -> int:
    """Do the one or the other, and say in a line what came of each part."""
    doing, parts = {
        "take": ("read", (take_compiled, take_weights)),
        "put": ("written", (put_compiled, put_weights)),
    }[sys.argv[1]]
    try:
        if doing == "written":
            os.nice(19)
        config = read_config(os.environ, Path.home(), _gpu())
        bucket = Bucket(config.bucket)
        for part in parts:
            part(config, bucket)
    except Exception as error:  # noqa: BLE001 - without a cache all goes on as if there were none
        address = os.environ.get("CACHE")
        say(f"warning: the cache {address} was not {doing}, and serving goes on without it: {_why(error)}")
    return 0


def take_compiled(config: Config, bucket: Bucket) -> None:
    """Before the engine's start."""
    if compiled.take(bucket, config.compiled, config.compiled_here):
        say("the cache had compiled code")


def take_weights(config: Config, bucket: Bucket) -> None:
    """Before the engine's start."""
    if config.weights is None:
        return
    begun = time.monotonic()
    came = weights.take(bucket, config.weights, config.snapshot)
    if came is None:
        say("the cache has no weights of this commit yet")
    elif came[0]:
        say(f"weights from the cache: {_told(came)} in {time.monotonic() - begun:.0f} s")


def put_compiled(config: Config, bucket: Bucket) -> None:
    """Once the engine is ready."""
    if compiled.put(bucket, config.compiled, config.compiled_here):
        say("compiled code was put into the cache")


def put_weights(config: Config, bucket: Bucket) -> None:
    """Once the engine is ready."""
    went = weights.put(bucket, config.weights, config.snapshot) if config.weights else None
    if went is not None:
        say(f"weights were put into the cache: {_told(went)}")


def say(sentence: str) -> None:
    """One line of the job's log."""
    sys.stdout.write(f"[llm-atc] {sentence}\n")
    sys.stdout.flush()


def _told(moved: tuple[int, int]) -> str:
    return f"{moved[0]} files, {moved[1] / GIB:.2f} GiB"


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _gpu() -> str:
    """The name of the first GPU; empty where there is none."""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
