"""Run by a public estimator's own Python: what it says of models on a stand-in hub.

    python estimators.py hf-mem|accelerate HUB MODEL...

For each model a line `TOLD {"model", "weights", "kv", "error"}`: bytes of the weights in 16 bits, and of the
KV cache for each token. The estimators' own functions are asked, below their command lines, for whole bytes
instead of rounded ones; hf-mem knows no other hub than huggingface.co, so its requests are sent to HUB here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

# Shorter than any window: a token's bytes then are those of all layers, as if none had one.
TOKENS = 32


def hf_mem(hub: str) -> Callable[[str], dict[str, Any]]:
    """`hf-mem --experimental --max-model-len TOKENS`."""
    import httpx2
    from hf_mem.run import arun

    class Client(httpx2.AsyncClient):  # type: ignore[misc,name-defined]
        async def get(self, url: str, **options: Any) -> Any:
            return await super().get(url.replace("https://huggingface.co", hub), **options)

    httpx2.AsyncClient = Client  # type: ignore[misc]

    def ask(model: str) -> dict[str, Any]:
        weights = asyncio.run(arun(model)).memory
        try:
            asked = arun(model, experimental=True, max_model_len=TOKENS, kv_cache_dtype="bfloat16")
            cache = asyncio.run(asked).kv_cache
        except Exception as error:  # noqa: BLE001  its weights count all the same
            return {"weights": weights, "kv": None, "error": repr(error)[:200]}
        return {"weights": weights, "kv": None if cache is None else cache / TOKENS}

    return ask


def accelerate(hub: str) -> Callable[[str], dict[str, Any]]:
    """`accelerate estimate-memory --library_name transformers --dtypes float16`, which knows no KV cache."""
    os.environ["HF_ENDPOINT"] = hub
    from accelerate.commands.estimate import gather_data

    def ask(model: str) -> dict[str, Any]:
        words = argparse.Namespace(
            model_name=model, library_name="transformers", trust_remote_code=False, dtypes=["float16"]
        )
        with contextlib.redirect_stdout(sys.stderr):
            ((_, _, weights, _),) = gather_data(words)
        return {"weights": weights, "kv": None}

    return ask


def main() -> None:
    which, hub, *models = sys.argv[1:]
    warnings.simplefilter("ignore")
    ask = {"hf-mem": hf_mem, "accelerate": accelerate}[which](hub)
    for model in models:
        try:
            told = ask(model)
        except Exception as error:  # noqa: BLE001  one model's failure is told, the others go on
            told = {"weights": None, "kv": None, "error": repr(error)[:200]}
        print("TOLD", json.dumps({"model": model, **told}), flush=True)


if __name__ == "__main__":
    main()
