"""Paths in a configuration file: they mean what lies beside it, wherever the command is typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from llm_atc.plan.inference import is_path, is_template_text
from llm_atc.plan.keys import Value, Values

# Settings that hold a path and nothing else, and those that hold one only where it looks like one.
PATHS = ("server.tls_cert", "server.tls_key", "serve.log_file")
_MODELS = ("model.name", "model.source", "serve.model_path")


def beside(values: Values, folder: Path) -> Values:
    """The values with relative paths as absolute ones, from `folder` on. `~` stays for its own reader."""

    def lies_there(text: str) -> str:
        return text if _elsewhere(text) else str(folder / text)

    def model(text: str) -> str:
        return lies_there(text) if text.startswith(("./", "../")) or text in (".", "..") else text

    def file(text: str) -> str:
        if is_template_text(text) or not (is_path(text) or (folder / text).exists()):
            return text
        return lies_there(text)

    readers: dict[str, Callable[[str], str]] = {
        **dict.fromkeys(PATHS, lies_there),
        **dict.fromkeys(_MODELS, model),
        "inference.chat_template": file,
    }
    found = dict(values)
    for name, read in readers.items():
        value = found.get(name)
        if isinstance(value, str) and value:
            found[name] = read(value)
    if "inference.lora" in found:
        found["inference.lora"] = _adapters(found["inference.lora"], file)
    return found


def _elsewhere(text: str) -> bool:
    return text.startswith("~") or Path(text).is_absolute()


def _adapters(value: Value, file: Callable[[str], str]) -> Value:
    if isinstance(value, Mapping):
        return {name: file(path) if isinstance(path, str) else path for name, path in value.items()}
    if isinstance(value, list):
        parted = [str(one).partition("=") for one in value]
        return [f"{name}{equals}{file(path) if path else path}" for name, equals, path in parted]
    return value
