"""What lies beside a model's weights: tokenizer, chat template, defaults for generation; what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llm_atc.plan.checkpoint import CONFIG
from llm_atc.plan.gguf import Gguf

TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION = "generation_config.json"
INDEX = "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"
READ = (CONFIG, TOKENIZER_CONFIG, GENERATION, INDEX, TEMPLATE)
# Any of these is a tokenizer that vLLM loads: Hugging Face's, SentencePiece's, tiktoken's, Mistral's.
_TOKENIZERS = re.compile(
    r"tokenizer\.json|tokenizer\.model|spiece\.model|sentencepiece\.bpe\.model|vocab\.(json|txt)"
    r"|tekken\.json|tokenizer\.model\.v\d+|[^/]*\.tiktoken|tokenization_[^/]*\.py"
)
# Mistral's tokenizers make chats into tokens by themselves.
_OWN_CHAT = re.compile(r"tekken\.json|tokenizer\.model\.v\d+")


class Modality(StrEnum):
    """What a model reads beside text."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


# Sections and keys of config.json that each kind of input brings.
_INPUTS = {
    Modality.IMAGE: ("vision_config", "image_token_id", "image_token_index", "mm_vision_tower"),
    Modality.AUDIO: ("audio_config", "audio_token_id", "num_mel_bins"),
    Modality.VIDEO: ("video_token_id", "video_token_index"),
}


# Kinds of rope scaling that vLLM takes to be within the configuration's number (config/model.py).
_WITHIN = ("su", "longrope", "llama3", "mrope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What the files beside the weights say. None is what nobody looked at.

    `settings` are the names of all JSON files; `generation` are the checkpoint's own defaults; `quantization`
    is the method that the configuration names; `stretched` says that the context is longer than the
    configuration's number, by a factor (rope scaling).
    """

    tokenizer: bool | None = None
    chat_template: bool | None = None
    generation: Mapping[str, Any] | None = None
    modality: tuple[Modality, ...] = (Modality.TEXT,)
    model_type: str | None = None
    quantization: str | None = None
    settings: tuple[str, ...] = ()
    own_code: bool = False
    stretched: bool = False


def read_papers(names: Iterable[str], texts: Mapping[str, bytes]) -> Papers:
    """From the names of all files, and the content of those in READ that are there."""
    names = tuple(names)
    config, told = parsed(texts.get(CONFIG)), parsed(texts.get(TOKENIZER_CONFIG))
    own_chat = any(_OWN_CHAT.fullmatch(name) for name in names)
    templates = (TEMPLATE, "chat_template.json")
    return Papers(
        tokenizer=any(_TOKENIZERS.fullmatch(name) for name in names),
        chat_template=own_chat or bool(told.get("chat_template")) or any(one in names for one in templates),
        generation=parsed(texts[GENERATION]) if GENERATION in texts else None,
        modality=(
            Modality.TEXT,
            *(kind for kind, keys in _INPUTS.items() if any(key in config for key in keys)),
        ),
        model_type=_word(config.get("model_type")),
        quantization=_method(config),
        settings=tuple(name for name in names if name.endswith(".json")),
        own_code="auto_map" in config,
        stretched=_stretched(config),
    )


def gguf_papers(read: Gguf) -> Papers:
    """From a GGUF file's keys, which hold the tokenizer and the template."""
    return Papers(
        tokenizer=bool(read.keys.get("tokenizer.ggml.model")),
        chat_template=bool(read.keys.get("tokenizer.chat_template")),
        quantization="gguf",
    )


def shards_missing(names: Iterable[str], index: bytes | None) -> tuple[str, ...]:
    """The weight files that an index promises and that are not there."""
    held, told = set(names), parsed(index).get("weight_map")
    promised = set(map(str, told.values())) if isinstance(told, Mapping) else set()
    return tuple(sorted(promised - held))


def parsed(text: bytes | None) -> Mapping[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        read = json.loads(text or b"{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _method(config: Mapping[str, Any]) -> str | None:
    for part in (config, config.get("text_config")):
        found = part.get("quantization_config") if isinstance(part, Mapping) else None
        if isinstance(found, Mapping):
            return _word(found.get("quant_method"))
    return None


def _stretched(config: Mapping[str, Any]) -> bool:
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(scaling, Mapping):
        return False
    return "factor" in scaling and scaling.get("rope_type", scaling.get("type")) not in _WITHIN


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None
