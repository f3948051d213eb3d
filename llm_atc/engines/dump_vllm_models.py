"""Print the models and parsers that vLLM knows, as JSON: run by the engine's own Python, with vLLM alone."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def of_transformers() -> set[str]:
    """The classes that transformers has for models: vLLM can run many that it has no code of its own for."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    tables = [table for name, table in vars(auto).items() if name.endswith("_MAPPING_NAMES")]
    values = [value for table in tables for value in table.values()]
    return {name for value in values for name in ([value] if isinstance(value, str) else value)}


def quantizations() -> dict[str, list[str]]:
    """Each method that vLLM reads, with the files of which one must lie beside weights that are not described
    as quantized; none where vLLM quantizes by itself while it loads."""
    layers = importlib.import_module("vllm.model_executor.layers.quantization")
    online = importlib.import_module("vllm.config.quantization")._ONLINE_SHORTHANDS
    return {
        name: [] if name in online else sorted(layers.get_quantization_config(name).get_config_filenames())
        for name in sorted(layers.QUANTIZATION_METHODS)
    }


def found() -> dict[str, Any]:
    """Names only: what vLLM's registries hold."""
    registry = importlib.import_module("vllm.model_executor.models.registry")
    templates = importlib.import_module("vllm.transformers_utils.chat_templates.registry")
    tools = importlib.import_module("vllm.tool_parsers")
    reasoning = importlib.import_module("vllm.reasoning")
    return {
        "engine": "vllm",
        "version": importlib.import_module("vllm").__version__.partition("+")[0],
        "architectures": sorted(registry.ModelRegistry.get_supported_archs()),
        "transformers": sorted(of_transformers() - set(registry.ModelRegistry.get_supported_archs())),
        "multimodal": sorted(registry._MULTIMODAL_MODELS),
        "dropped": dict(sorted(registry._PREVIOUSLY_SUPPORTED_MODELS.items())),
        "elsewhere": dict(sorted(registry._OOT_SUPPORTED_MODELS.items())),
        "chat_templates": sorted(templates._MODEL_TYPE_TO_CHAT_TEMPLATE_FALLBACK),
        "quantizations": quantizations(),
        "tool_parsers": sorted(tools._TOOL_PARSERS_TO_REGISTER),
        "reasoning_parsers": sorted(reasoning._REASONING_PARSERS_TO_REGISTER),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(found()))
