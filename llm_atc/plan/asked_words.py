"""What was said to an engine, in whichever form: texts, words, mappings of a file, older flags."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from llm_atc.errors import UsageError
from llm_atc.plan.backend_words import Backend
from llm_atc.plan.layers import FLAG, Settled
from llm_atc.plan.values import ValueRefused, read_size

Said = Mapping[str, Any]
_OLDER = {
    "serve.gpu_layers": "--num-gpu-layers",
    "serve.max_ctx_size": "--max-ctx-size",
    "serve.num_threads": "--num-threads",
}


def read_backend(settled: Settled, after: tuple[str, ...]) -> Backend:
    """Everything for the engine itself. Raises UsageError, also for options without the engine's name."""
    given = settled["serve.backend_args"].value
    if given and not (settled["serve.backend"].value or settled["serve.vllm_args"].value):
        raise UsageError(
            "--backend-args are one engine's own options: say whose.",
            hint="--backend vllm   or   --backend llama-cpp",
        )
    words: list[str] = []
    options: dict[str, Any] = {}
    for key, flag in (("serve.backend_args", "--backend-args"), ("serve.vllm_args", "--vllm-args")):
        _read_words(settled[key].value, flag, words, options)
    older = {
        flag: value
        for key, flag in _OLDER.items()
        if (value := read_size_of(settled[key].value, flag)) is not None
    }
    typed = frozenset(flag for key, flag in _OLDER.items() if settled[key].source == FLAG)
    return Backend(words=tuple(words), options=options, older=older, warned=typed, after=after)


def _read_words(given: Any, flag: str, words: list[str], options: dict[str, Any]) -> None:
    if isinstance(given, Mapping):
        options.update(given)
    elif isinstance(given, str):
        words += _split(given, flag)
    elif isinstance(given, Sequence):
        for one in given:
            _read_words(one, flag, words, options)


def _split(text: str, flag: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag}: a quote in it is never closed.") from error


def read_size_of(value: Any, flag: str) -> int | None:
    """A whole number, or a text such as 32k; None stays None. Raises UsageError."""
    if value is None or isinstance(value, int):
        return value
    try:
        return read_size(str(value))
    except ValueRefused as error:
        raise UsageError(f"{flag}: {error}.", hint=f"{flag} 4096   or   {flag} 32k") from None


def read_lora(given: Any) -> tuple[tuple[str, str], ...]:
    """Adapters by name, from a mapping or from texts `NAME=PATH`. Raises UsageError."""
    if isinstance(given, Mapping):
        return tuple((str(name), str(path)) for name, path in given.items())
    found = []
    for text in given or ():
        name, _, path = text.partition("=")
        if not name or not path:
            raise UsageError(f"--lora {text!r} is no NAME=PATH.", hint="--lora sql=./adapters/sql")
        found.append((name, path))
    return tuple(found)
