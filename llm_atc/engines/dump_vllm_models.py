"""Print the models and parsers that vLLM knows, as JSON: run by the engine's own Python, with vLLM alone."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


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
        "multimodal": sorted(registry._MULTIMODAL_MODELS),
        "dropped": dict(sorted(registry._PREVIOUSLY_SUPPORTED_MODELS.items())),
        "elsewhere": dict(sorted(registry._OOT_SUPPORTED_MODELS.items())),
        "chat_templates": sorted(templates._MODEL_TYPE_TO_CHAT_TEMPLATE_FALLBACK),
        "tool_parsers": sorted(tools._TOOL_PARSERS_TO_REGISTER),
        "reasoning_parsers": sorted(reasoning._REASONING_PARSERS_TO_REGISTER),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(found()))
