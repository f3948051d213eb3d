"""Files that an engine's own options name: what follows `--` is looked at before a start too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_atc.plan.engine import EngineName
from llm_atc.plan.options import Options

_OPTIONS = {
    EngineName.VLLM: ("chat_template", "lora_modules", "tokenizer", "speculative_config"),
    EngineName.LLAMA_CPP: ("chat_template_file", "lora", "mmproj", "model_draft", "grammar_file"),
}


def named_files(engine: EngineName, options: Options) -> tuple[tuple[str, str], ...]:
    """Each flag with an absolute path that it names; other words may be repositories, or a text."""
    return tuple(
        ("--" + name.replace("_", "-"), path)
        for name in _OPTIONS[engine]
        for path in _paths(options.get(name))
        if path.startswith("/")
    )


def _paths(value: Any) -> Iterator[str]:
    """`/a`, `/a,/b`, `name=/a`, `{"path": "/a"}`, `{"model": "/a"}`, and lists of these."""
    if isinstance(value, str):
        yield from (word.rpartition("=")[2] for word in value.split(","))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one)
    elif isinstance(value, dict):
        yield from (value[key] for key in ("path", "model") if isinstance(value.get(key), str))
