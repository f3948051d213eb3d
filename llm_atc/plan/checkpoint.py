"""What the files of a checkpoint say: how it is stored, how large it is, and what it answers."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

from llm_atc.errors import ModelUnservable
from llm_atc.plan.adapter import ADAPTER, alone
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Runner, Where
from llm_atc.plan.quantization import chosen, is_whole, parts_of, quantization_of, quantizations

CONFIG = "config.json"
# Mistral's own format: vLLM reads it where there is no config.json.
MISTRAL_CONFIG = "params.json"
GGUF_MAGIC = b"GGUF"
# Enough of a GGUF file to hold the magic bytes and its first key, general.architecture.
GGUF_HEAD = 4096
CONFIG_LIMIT = 4 * 1024 * 1024

Sizes = Mapping[str, int]
Head = Callable[[str, int], bytes]

_WEIGHTS = (
    re.compile(r"(?!consolidated|adapter_)[^/]+\.safetensors"),
    re.compile(r"consolidated[^/]*\.safetensors"),
    re.compile(r"(?!training_args|optimizer|scheduler|adapter_|rng_state)[^/]+\.bin"),
    re.compile(r"(?!training_args|optimizer|scheduler|adapter_|rng_state|consolidated)[^/]+\.pt"),
)
_SAFETENSORS = re.compile(r"[^/]+\.safetensors")
_POOLS = re.compile(r"(Model|Embedding|Embeddings|Encoder)$")
# These generate, although their names end as an encoder's do.
_GENERATES = re.compile(r"(LMHeadModel|ChatModel|ChatGLMModel|NVLM_D_Model|UltravoxModel)$")
_SENTENCE_TRANSFORMERS = ("modules.json", "1_Pooling/config.json")
_GGUF_ENCODERS = re.compile(r"(^|-)bert|^t5encoder$|embed")
_STRING_TYPE = 8


def weights(files: Sizes) -> tuple[str, ...]:
    """The weight files that an engine loads, each tensor once.

    Many repositories hold the same weights two or three times: safetensors go before `consolidated`, which
    go before .bin and .pt. Folders, such as `original/`, are left out.
    """
    for pattern in _WEIGHTS:
        found = tuple(sorted(name for name in files if pattern.fullmatch(name)))
        if found:
            return found
    return ()


def gguf_files(files: Sizes, quantization: str | None = None) -> tuple[str, ...]:
    """The GGUF file to load, followed by the other parts of its set; empty when there is none."""
    first = chosen(files, quantization)
    return parts_of(first, files) if first is not None else ()


def gguf_architecture(head: bytes) -> str | None:
    """`general.architecture` of a GGUF file, from its first bytes; None when it is not among them.

    A key is followed by its type (u32; 8 is a string), the string's length (u64) and the string.
    Source: the GGUF specification, ggml/docs/gguf.md.
    """
    _, found, rest = head.partition(b"general.architecture")
    if not found or len(rest) < 12:
        return None
    kind, length = struct.unpack_from("<IQ", rest)
    if kind != _STRING_TYPE or length > 64 or len(rest) < 12 + length:
        return None
    return rest[12 : 12 + int(length)].decode("utf-8", "replace")


def architecture(ref: ModelRef, config: bytes) -> str | None:
    """The first of the architectures that config.json names. ModelUnservable when it is not JSON."""
    try:
        read = json.loads(config)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise ModelUnservable(
            f"{CONFIG} of {ref.name} is not JSON: it is damaged, or a page came in its place.",
            hint=_list_command(ref),
        )
    named = read.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return first if isinstance(first, str) else None


def runner(name: str | None, files: Sizes) -> Runner:
    """What a model of this architecture answers: sentence-transformers and bare encoders pool."""
    if any(marker in files for marker in _SENTENCE_TRANSFORMERS):
        return Runner.POOLING
    if name is None or _GENERATES.search(name):
        return Runner.GENERATE
    return Runner.POOLING if _POOLS.search(name) else Runner.GENERATE


def read_checkpoint(ref: ModelRef, files: Sizes, head: Head, revision: str | None = None) -> ModelSpec:
    """What these files are as a model. `head(name, n)` gives the first `n` bytes of a file.

    Raises ModelUnservable when no engine could load them.
    """
    loaded = weights(files)
    if ref.quantization is None and loaded and (CONFIG in files or MISTRAL_CONFIG in files):
        named = architecture(ref, head(CONFIG, CONFIG_LIMIT)) if CONFIG in files else None
        return ModelSpec(
            ref=ref,
            looked=True,
            format=Format.HUGGING_FACE,
            runner=runner(named, files),
            architecture=named,
            bytes=sum(files[name] for name in loaded),
            revision=revision,
            quantizations=quantizations(files),
            safetensors=set(loaded) == {name for name in files if _SAFETENSORS.fullmatch(name)},
        )
    parts = gguf_files(files, ref.quantization)
    if ref.quantization is not None and not parts:
        raise _no_such_quantization(ref, ref.quantization, files)
    if parts and head(parts[0], GGUF_HEAD)[:4] != GGUF_MAGIC:
        raise ModelUnservable(
            f"{parts[0]} of {ref.name} is no GGUF file, whatever its name says: it is damaged or cut short.",
            hint=_list_command(ref),
        )
    if not is_whole(parts):
        raise ModelUnservable(
            f"{ref.name} is not complete: {parts[0]} and what follows it are but {len(parts)} parts.",
            hint=_list_command(ref),
        )
    parts = parts or _gguf_by_magic(files, head)
    if not parts:
        raise _unservable(ref, files, head)
    return read_gguf(ref, files, parts, head(parts[0], GGUF_HEAD), revision)


def read_gguf(
    ref: ModelRef, files: Sizes, parts: tuple[str, ...], head: bytes, revision: str | None = None
) -> ModelSpec:
    """The model that these GGUF parts are; `head` is the beginning of the first."""
    named = gguf_architecture(head)
    own = quantization_of(parts[0])
    pools = named is not None and _GGUF_ENCODERS.search(named) is not None
    return ModelSpec(
        ref=ref,
        looked=True,
        format=Format.GGUF,
        runner=Runner.POOLING if pools else Runner.GENERATE,
        architecture=named,
        bytes=sum(files[name] for name in parts),
        revision=revision,
        file=parts[0],
        quantizations=(own, *(other for other in quantizations(files) if other != own)),
    )


def _no_such_quantization(ref: ModelRef, asked: str, files: Sizes) -> ModelUnservable:
    there = quantizations(files)
    if not there:
        return ModelUnservable(
            f"{ref.location} holds no GGUF file, and so no quantization {asked}. There is: {_some(files)}.",
            hint=f"--name {ref.location}",
        )
    return ModelUnservable(
        f"{ref.location} has no quantization {asked}. It has: {', '.join(there)}.",
        hint=f"--name {replace(ref, quantization=there[0])}",
    )


def _gguf_by_magic(files: Sizes, head: Head) -> tuple[str, ...]:
    if CONFIG in files:
        return ()
    largest = sorted((name for name in files if files[name] > 4), key=lambda name: -files[name])[:4]
    return next(((name,) for name in largest if head(name, 4) == GGUF_MAGIC), ())


def _unservable(ref: ModelRef, files: Sizes, head: Head) -> ModelUnservable:
    held = f"There is: {_some(files)}."
    if ADAPTER in files:
        return alone(ref, head(ADAPTER, CONFIG_LIMIT), held)
    if CONFIG in files:
        return ModelUnservable(
            f"{ref.name} has a {CONFIG} and no weights (*.safetensors or *.bin) beside it. {held}",
            hint=_list_command(ref),
        )
    return ModelUnservable(
        f"{ref.name} is no model that an engine here can load: "
        f"neither {CONFIG} nor a GGUF file lies at {ref.location}. {held}",
        hint=_list_command(ref),
    )


def _some(files: Sizes, most: int = 5) -> str:
    names = sorted(files)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else "nothing"


def _list_command(ref: ModelRef) -> str:
    if ref.where is Where.HUB:
        return f"open the model's page on the hub: {ref.location}"
    return f"llm-atc checkpoints ls {ref.location}"
