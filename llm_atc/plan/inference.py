"""The options of inference that engines share: said once, in one way, and in the words of each engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import assert_never

from llm_atc.errors import UsageError
from llm_atc.plan.engine import EngineName

_TEXT_MARKS = ("{{", "{%", "{#", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What was asked for; None leaves it to llm-atc and the engine.

    `gpu_memory` is a share, `max_model_len` tokens; `chat_template` is a file's path, or the template's text;
    `lora` holds names and the paths (or repositories) of adapters.
    """

    gpus: int | None = None
    gpu_memory: float | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    trust_remote_code: bool = False
    chat_template: str | None = None
    lora: tuple[tuple[str, str], ...] = ()


def words(asked: Inference, engine: EngineName) -> tuple[str, ...]:
    """These options in the engine's own words. GPUs are not among them: they depend on the machine too.

    Raises UsageError for an option that the engine has no counterpart for.
    """
    match engine:
        case EngineName.VLLM:
            return _vllm(asked)
        case EngineName.LLAMA_CPP:
            return _llama(asked)
        case _:
            assert_never(engine)


def words_with_gpus(asked: Inference, engine: EngineName) -> tuple[str, ...]:
    """The same with vLLM's word for how many GPUs."""
    if asked.gpus is None or engine is not EngineName.VLLM:
        return words(asked, engine)
    return (*words(asked, engine), "--tensor-parallel-size", str(asked.gpus))


def is_template_text(template: str) -> bool:
    """Whether this is a chat template itself, and no file's path."""
    return any(mark in template for mark in _TEXT_MARKS)


def is_path(text: str) -> bool:
    """Whether this is a path by its look: not a repository, not an address, not a template's name."""
    return text.startswith(("/", "./", "../", "~")) or PurePath(text).suffix in (".jinja", ".jinja2", ".j2")


def _vllm(asked: Inference) -> tuple[str, ...]:
    found: list[str] = []
    for flag, value in (
        ("--gpu-memory-utilization", asked.gpu_memory),
        ("--max-model-len", asked.max_model_len),
        ("--dtype", asked.dtype),
        ("--quantization", asked.quantization),
        ("--chat-template", asked.chat_template),
    ):
        if value is not None:
            found += [flag, str(value)]
    if asked.trust_remote_code:
        found.append("--trust-remote-code")
    if asked.lora:
        found += ["--enable-lora", "--lora-modules", *(f"{name}={path}" for name, path in asked.lora)]
    return tuple(found)


def _llama(asked: Inference) -> tuple[str, ...]:
    _check_llama(asked)
    found: list[str] = []
    if asked.max_model_len is not None:
        found += ["--ctx-size", str(asked.max_model_len)]
    if asked.chat_template is not None:
        plain = is_template_text(asked.chat_template) or not is_path(asked.chat_template)
        found += ["--chat-template" if plain else "--chat-template-file", asked.chat_template]
    for _, path in asked.lora:
        found += ["--lora", path]
    return tuple(found)


def _check_llama(asked: Inference) -> None:
    for flag, given, why in (
        ("--gpu-memory", asked.gpu_memory, "it takes what the model and its context need"),
        ("--dtype", asked.dtype not in (None, "auto"), "a GGUF file has its own numbers"),
        (
            "--quantization",
            asked.quantization,
            "a GGUF file is quantized already; OWNER/NAME:Q4_K_M names one",
        ),
        ("--trust-remote-code", asked.trust_remote_code, "a GGUF file brings no code"),
    ):
        if given:
            raise UsageError(
                f"llama.cpp has nothing like {flag}: {why}.", hint=f"leave {flag} away, or: --backend vllm"
            )
    if len(asked.lora) > 1:
        raise UsageError(
            "llama-server puts every adapter on every request, so requests could not choose among several.",
            hint="--lora NAME=PATH once",
        )
