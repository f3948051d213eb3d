"""Several quantizations of one model in one place: what each is called, and which is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# What llama.cpp's own tools put into a file's name, also as a folder's: Q4_K_M, IQ2_XXS, UD-Q4_K_XL, BF16.
_LABEL = re.compile(
    r"(?<![A-Za-z0-9])(?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|F32)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
# Q4_K_M is llama.cpp's own choice; where it is absent, what comes near it in size.
_PREFERRED = ("q4_k_m", "q4_k_s", "q5_k_m", "q4_0", "q8_0", "f16", "bf16", "f32")


def quantization_of(file: str) -> str:
    """What a GGUF file's quantization is called, in capitals; where its name says none, that name's stem."""
    found = _LABEL.findall(file.removesuffix(".gguf"))
    return found[-1].upper() if found else _stem(file)


def firsts(files: Iterable[str]) -> tuple[str, ...]:
    """The GGUF files that can be loaded, the best choice first: whole files and first parts.

    Image projectors are left out, for they are no model by themselves.
    """
    names = [name for name in files if name.lower().endswith(".gguf") and "mmproj" not in name.lower()]
    found = [name for name in names if (part := _SPLIT.fullmatch(name)) is None or int(part[2]) == 1]
    return tuple(sorted(found, key=lambda name: (_preference(name), name)))


def quantizations(files: Iterable[str]) -> tuple[str, ...]:
    """The quantizations that lie there, each once, the best choice first."""
    return tuple(dict.fromkeys(quantization_of(name) for name in firsts(files)))


def parts_of(first: str, files: Iterable[str]) -> tuple[str, ...]:
    """The file and, when it is the first of a set, the set's other parts that are there, in order."""
    split = _SPLIT.fullmatch(first)
    if split is None:
        return (first,)
    return tuple(
        name
        for name in sorted(files)
        if (p := _SPLIT.fullmatch(name)) and (p[1], p[3]) == (split[1], split[3])
    )


def is_whole(parts: tuple[str, ...]) -> bool:
    """Whether a set has all the parts that its names promise."""
    split = _SPLIT.fullmatch(parts[0]) if parts else None
    return split is None or len(parts) == int(split[3])


def chosen(files: Iterable[str], asked: str | None) -> str | None:
    """The GGUF file to load: of the quantization that was asked for, else the best choice; None for none.

    A quantization may be named by its file's name too, and `UD-Q4_K_XL` by `Q4_K_XL` where that is not there.
    """
    loadable = firsts(files)
    if asked is None:
        return loadable[0] if loadable else None
    wanted = asked.upper()
    tests: Mapping[str, str] = {name: quantization_of(name).upper() for name in loadable}
    for match in (
        lambda name: tests[name] == wanted,
        lambda name: _stem(name).upper() == wanted.removesuffix(".GGUF"),
        lambda name: tests[name].endswith(f"-{wanted}"),
    ):
        if found := next(filter(match, loadable), None):
            return found
    return None


def _stem(file: str) -> str:
    name = file.rsplit("/", 1)[-1]
    split = _SPLIT.fullmatch(name)
    return split[1] if split else name.removesuffix(".gguf")


def _preference(name: str) -> int:
    label = quantization_of(name).lower().removeprefix("ud-")
    return _PREFERRED.index(label) if label in _PREFERRED else len(_PREFERRED)
