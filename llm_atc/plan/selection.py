"""Which files of a checkpoint an engine needs, and which it would never read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from llm_atc.errors import ModelError
from llm_atc.plan.checkpoint import Sizes, weights
from llm_atc.plan.model import Format, ModelSpec
from llm_atc.plan.quantization import parts_of

# Weights of every framework, and what training left behind; what an engine loads of them is added again.
_WEIGHTS = re.compile(
    r".*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|ot|onnx|onnx_data|tflite|mlmodel|gguf|ggml|npz|nemo|pkl|engine"
    r"|tar|tar\.gz|zip)|(.*/)?(original|onnx|openvino|coreml|flax|tf|gguf|metal)/.*|.*\.mlpackage/.*|openvino_.*",
    re.IGNORECASE,
)
# A sentence transformer's layers lie in folders with numbers: 1_Pooling, 2_Dense.
_LAYER = re.compile(r"(\d+_\w+)/([^/]+)")
_PART = re.compile(r"(.*-)\d{5}-of-(\d{5})(\.\w+)")
_HOUSEKEEPING = re.compile(r"(.*/)?\.git(attributes|ignore)")


def needed(files: Sizes, spec: ModelSpec) -> tuple[str, ...]:
    """The files to copy for this model, by name: each weight once, in the one format that is loaded.

    Of GGUF exactly the chosen quantization, with all its parts. Of others the weights that `weights` chooses,
    and everything that is no weight at all, such as configurations and tokenizers.
    """
    if spec.format is Format.GGUF and spec.file is not None:
        return parts_of(spec.file, files)
    plain = [name for name in files if not (_WEIGHTS.fullmatch(name) or _HOUSEKEEPING.fullmatch(name))]
    return tuple(sorted({*plain, *weights(files), *_layers(files)}))


def _layers(files: Sizes) -> list[str]:
    """The weights below folders with numbers, each folder's in one format."""
    folders: dict[str, dict[str, int]] = {}
    for name, size in files.items():
        if found := _LAYER.fullmatch(name):
            folders.setdefault(found[1], {})[found[2]] = size
    return [f"{folder}/{name}" for folder, below in folders.items() for name in weights(below)]


def picked(
    files: Sizes, default: Sequence[str], include: Sequence[str], exclude: Sequence[str], place: str
) -> tuple[str, ...]:
    """The default, or in its place what `include`'s patterns match; without what `exclude`'s match.

    A pattern is a shell's, where `*` also means `/`. Raises ModelError when nothing is left.
    """
    chosen = [name for name in files if _matches(name, include)] if include else list(default)
    left = tuple(sorted(name for name in chosen if not _matches(name, exclude)))
    if not left:
        raise ModelError(
            f"No file of {place} is left by these patterns. There is: {', '.join(sorted(files)[:8])}.",
            hint='--include "*.safetensors"   (in quotes, so that the shell leaves it alone)',
        )
    return left


def is_complete(names: Iterable[str]) -> bool:
    """Whether every set of numbered parts has as many as they: `model-00001-of-00003.safetensors`."""
    sets = Counter(found.groups() for name in names if (found := _PART.fullmatch(name)))
    return all(count == int(total) for (_, total, _), count in sets.items())


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
