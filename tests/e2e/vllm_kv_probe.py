"""Run by vLLM's own Python: start the engine on each configuration, and print how it deals out its KV cache.

    python vllm_kv_probe.py REQUESTS.json

REQUESTS is a list of {"name", "folder", "config", "memory", "load"}; for each, one line `PROBE {…}` with
vLLM's own accounting, or with the error that it ended with. With a folder and a configuration transformers
writes a checkpoint there first; with a configuration alone the weights are never stored.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}

import transformers
import vllm.model_executor.model_loader.base_loader as loader
import vllm.v1.engine.core as core
from vllm import LLM

SEEN: dict[str, Any] = {}
plan_cache, process_weights = core.get_kv_cache_configs, loader.process_weights_after_loading


def planned(config: Any, specs: Any, memory: Any) -> Any:
    """Remember what vLLM plans."""
    found = plan_cache(config, specs, memory)
    SEEN.update(config=config, specs=specs[0], cache=found[0])
    return found


def processed(model: Any, *arguments: Any, **options: Any) -> Any:
    """Remember what the weights take as they are loaded, before a CPU's kernels pack them."""
    sizes = {p.untyped_storage().data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    SEEN["weights"] = sum(sizes.values())
    return process_weights(model, *arguments, **options)


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """What vLLM says of one configuration."""
    folder = request.get("folder") or tempfile.mkdtemp()
    if "config" in request:
        Path(folder).mkdir(exist_ok=True)
        Path(folder, "config.json").write_text(json.dumps(request["config"]))
        if "folder" in request:
            config = transformers.AutoConfig.from_pretrained(folder)
            transformers.AutoModelForCausalLM.from_config(config, dtype="bfloat16").save_pretrained(folder)
    engine = LLM(
        model=folder,
        load_format=request.get("load") or ("auto" if "folder" in request else "dummy"),
        skip_tokenizer_init="config" in request,
        enforce_eager=True,
        kv_cache_memory_bytes=request["memory"],
    )
    config, cache = SEEN["config"], SEEN["cache"]
    pages = [(type(s).__name__, s.page_size_bytes, s.block_size) for s in SEEN["specs"].values()]
    del engine
    gc.collect()
    return {
        "blocks": cache.num_blocks,
        "tokens": config.cache_config.kv_cache_size_tokens,
        "length": config.model_config.max_model_len,
        "batch": config.scheduler_config.max_num_batched_tokens,
        "batches": config.max_concurrent_batches,
        "per_token": sum(size // block for kind, size, block in pages if kind != "MambaSpec"),
        "weights": SEEN["weights"],
    }


if __name__ == "__main__":
    core.get_kv_cache_configs = planned
    loader.process_weights_after_loading = processed
    for one in json.loads(Path(sys.argv[1]).read_text()):
        try:
            told = probe(one)
        except Exception as error:  # noqa: BLE001  one shape's failure is told, the others go on
            told = {"error": f"{type(error).__name__}: {error}"[:500]}
        print("PROBE", json.dumps({"name": one["name"], **told}), flush=True)
