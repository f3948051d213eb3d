"""vLLM's own `--config` file, as people have it: its options in YAML, read as settings of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_atc.config.document import Entry, plain
from llm_atc.errors import UsageError
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.engine import EngineName
from llm_atc.plan.facts import dest_of, read_options
from llm_atc.plan.key_values import Misfit, check
from llm_atc.plan.keys import BY_NAME, Key, Kind, Value
from llm_atc.plan.layers import SERVICE_FILE, Layer
from llm_atc.plan.options import Json, OptionSet

# vLLM's options that are settings of ours, so that a flag of ours wins over such a file.
OURS: Mapping[str, str] = {
    "model": "model.name",
    "trust_remote_code": "model.trust_remote_code",
    "host": "server.host",
    "port": "server.port",
    "served_model_name": "server.served_model_name",
    "tensor_parallel_size": "inference.gpus",
    "gpu_memory_utilization": "inference.gpu_memory",
    "max_model_len": "inference.max_model_len",
    "dtype": "inference.dtype",
    "quantization": "inference.quantization",
    "chat_template": "inference.chat_template",
}
_SECRETS = {"api_key": "--api-key, LLM_ATC_API_KEY", "hf_token": "--secret HF_TOKEN"}


def is_one(top: Mapping[str, Entry], sections: tuple[str, ...], options: OptionSets) -> bool:
    """Whether these are vLLM's options and no sections of ours; `model` is a word of both."""
    own = [name for name in top if name in sections and name != "model"]
    if own or not top.keys() - {"model"}:
        return False
    if "model" in top and not top["model"].scalar:
        return False
    known = options(EngineName.VLLM).by_flag
    return any(f"--{name.replace('_', '-')}" in known for name in top)


def read(top: Mapping[str, Entry], options: OptionSets) -> Layer:
    """The layer that such a file is. Raises ConfigError with line and column."""
    known = options(EngineName.VLLM)
    values: dict[str, Value] = {"serve.backend": str(EngineName.VLLM)}
    places = {"serve.backend": next(iter(top.values())).file}
    others: dict[str, Value] = {}
    for name, entry in top.items():
        word = name.replace("-", "_")
        if word in _SECRETS:
            raise entry.wrong(
                f"{name}: a secret's value does not belong into a file. Give it with {_SECRETS[word]}."
            )
        ours = BY_NAME.get(OURS.get(word, ""))
        if word == "config":
            raise entry.wrong("a file of options cannot name another one.")
        if ours is None:
            others[name] = plain(entry.node)
            _checked(entry, name, known)
            places.setdefault("serve.backend_args", entry.place)
        else:
            values[ours.name] = _ours(ours, entry, word, known)
            places[ours.name] = entry.place
    if others:
        values["serve.backend_args"] = others
    return Layer(source=SERVICE_FILE, values=values, places=places)


def _ours(key: Key, entry: Entry, word: str, known: OptionSet) -> Value:
    value: Any = plain(entry.node) if word == "model" or entry.empty else _checked(entry, entry.name, known)
    if isinstance(value, list):
        if len(value) != 1:
            raise entry.wrong(f"{entry.name}: one name is wanted.", node=entry.node)
        value = value[0]
    if key.kind is Kind.TEXT and value is not None:
        value = str(value)
    try:
        check(key, value)
    except Misfit as error:
        raise entry.wrong(f"{entry.name}: {error}.", node=entry.node) from None
    read: Value = value
    return read


def _checked(entry: Entry, name: str, known: OptionSet) -> Json:
    """What vLLM's own parser makes of this option. ConfigError for what it would refuse."""
    try:
        return option_value(entry, name, known)
    except UsageError as error:
        raise entry.wrong(error.message) from None


def option_value(entry: Entry, name: str, known: OptionSet) -> Json:
    """The option's value. Raises UsageError for one that the engine does not have, or would not take."""
    return read_options({name: plain(entry.node)}, known).get(dest_of(name, known))
