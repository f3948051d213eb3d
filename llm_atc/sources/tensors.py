"""What memory depends on, read from a checkpoint's first bytes wherever it lies: its shape and its weights.

Of each weight file only the header is read, by range; of PyTorch's .bin files nothing but the size is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from llm_atc.access import Secret
from llm_atc.errors import ModelUnservable, SourceError
from llm_atc.plan.architecture import Architecture, Unknown
from llm_atc.plan.checkpoint import CONFIG, Head, Sizes, weights
from llm_atc.plan.gguf import CutShort, Gguf, read_gguf_header
from llm_atc.plan.gguf_config import read_gguf_architecture
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Where
from llm_atc.plan.model_config import read_architecture
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.papers import INDEX, READ, gguf_papers, parsed, read_papers, shards_missing
from llm_atc.plan.quantization import is_whole, parts_of
from llm_atc.plan.tensors import (
    BadHeader,
    Tensor,
    check_size,
    header_of,
    read_safetensors,
    safetensors_length,
)
from llm_atc.plan.weights import Weights, of_sizes, of_tensors
from llm_atc.sources.models import AllModels

Read = TypeVar("Read")
THREADS = 8
# An index of many parts, or a tokenizer's configuration, is some megabytes at the most.
TEXT_LIMIT = 64 * 1024 * 1024
# A GGUF header holds the tokenizer: some megabytes.
GGUF_FIRST, GGUF_MOST = 1024 * 1024, 256 * 1024 * 1024


def read_facts(ref: ModelRef, token: Secret | None = None) -> Facts:
    """Look at the checkpoint and read its headers. Raises what ModelSource.look raises.

    ModelUnservable when a header is damaged, a file is cut short or a part is missing. Asks for each file
    once or twice, eight at a time.
    """
    with _opened(ref, token) as (spec, sizes, head):
        if spec.format is Format.GGUF:
            return _gguf_facts(spec, sizes, head)
        texts = _texts(sizes, head)
        if missing := shards_missing(sizes, texts.get(INDEX)):
            raise _incomplete(spec, missing)
        architecture = _architecture(spec, texts)
        return Facts(
            spec=spec,
            architecture=architecture,
            weights=_weights(spec, sizes, head, architecture),
            papers=read_papers(sizes, texts),
        )


def _texts(sizes: Sizes, head: Head) -> dict[str, bytes]:
    """The small files beside the weights, all at once."""
    names = [name for name in READ if name in sizes]
    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(names, threads.map(lambda name: head(name, TEXT_LIMIT), names), strict=True))


def _incomplete(spec: ModelSpec, missing: tuple[str, ...]) -> ModelUnservable:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return ModelUnservable(
        f"{spec.ref.name} is not whole: {missing[0]}{more} is missing.",
        hint="copy it again, with all its files",
    )


@contextmanager
def _opened(ref: ModelRef, token: Secret | None) -> Iterator[tuple[ModelSpec, Sizes, Head]]:
    """The model, its files' sizes, and how to read their first bytes."""
    spec = AllModels(Path()).look(ref, token)
    if ref.where is Where.HUB:
        yield _on_hub(spec, token)
    elif ref.where is Where.DISK:
        yield _on_disk(spec)
    else:
        with _in_bucket(spec) as (sizes, head):
            yield spec, sizes, head


def _on_hub(spec: ModelSpec, token: Secret | None) -> tuple[ModelSpec, Sizes, Head]:
    from huggingface_hub import HfApi, get_token

    from llm_atc.sources.huggingface import HUB, TIMEOUT, first_bytes, translated

    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    value = token.reveal() if token else get_token()
    repo = spec.ref.location
    with translated(spec.ref, endpoint, given=value is not None):
        info = HfApi(endpoint=endpoint, token=value).model_info(
            repo, revision=spec.revision, files_metadata=True, timeout=TIMEOUT
        )

    def head(name: str, length: int) -> bytes:
        with translated(spec.ref, endpoint, given=value is not None):
            return first_bytes(endpoint, repo, spec.revision, name, length, value)

    return spec, {found.rfilename: found.size or 0 for found in info.siblings or ()}, head


def _on_disk(spec: ModelSpec) -> tuple[ModelSpec, Sizes, Head]:
    from llm_atc.sources.disk import list_files

    folder = Path(spec.ref.location)

    def head(name: str, length: int) -> bytes:
        try:
            with (folder / name).open("rb") as file:
                return file.read(length)
        except OSError as error:
            raise SourceError(
                f"{folder / name} cannot be read: {error.strerror}.", hint=f"ls -la {folder / name}"
            ) from error

    return spec, list_files(folder), head


@contextmanager
def _in_bucket(spec: ModelSpec) -> Iterator[tuple[Sizes, Head]]:
    from llm_atc.sources.bucket import Address
    from llm_atc.sources.transfer import open_bucket

    address = Address.parse(spec.ref.location)
    prefix = address.prefix
    with open_bucket(address) as bucket:
        sizes = {found.key.removeprefix(prefix): found.size for found in bucket.files(prefix)}
        yield sizes, lambda name, length: bucket.head(prefix + name, length) if sizes[name] else b""


def _architecture(spec: ModelSpec, texts: Mapping[str, bytes]) -> Architecture | Unknown:
    if CONFIG not in texts:
        return Unknown(name=spec.ref.name, reason=f"it has no {CONFIG}")
    return read_architecture(parsed(texts[CONFIG]))


def _weights(spec: ModelSpec, sizes: Sizes, head: Head, architecture: Architecture | Unknown) -> Weights:
    names = weights(sizes)
    if not all(name.endswith(".safetensors") for name in names):
        return of_sizes(sizes, names)

    def read(name: str) -> tuple[Tensor, ...]:
        found = header_of(lambda length: head(name, length))
        tensors = read_safetensors(found)
        check_size(sizes[name], safetensors_length(found) + sum(tensor.bytes for tensor in tensors))
        return tensors

    bits = architecture.bits if isinstance(architecture, Architecture) else None
    tensors = [tensor for found in _each(read, names, spec) for tensor in found]
    return of_tensors(tensors, bits=bits)


def _gguf_facts(spec: ModelSpec, sizes: Sizes, head: Head) -> Facts:
    parts = parts_of(spec.file or "", sizes)
    if not is_whole(parts):
        raise _incomplete(spec, (f"a part of the set that {parts[0]} begins",))
    read = _each(lambda name: _gguf_header(lambda length: head(name, length), sizes[name]), parts, spec)
    tensors = [tensor for found in read for tensor in found.tensors]
    return Facts(
        spec=spec,
        architecture=read_gguf_architecture(read[0]),
        weights=of_tensors(tensors),
        papers=gguf_papers(read[0]),
    )


def _gguf_header(head: Callable[[int], bytes], size: int) -> Gguf:
    length = GGUF_FIRST
    while True:
        try:
            found = read_gguf_header(head(length))
            check_size(size, found.size, exact=False)
            return found
        except CutShort:
            if length >= min(size, GGUF_MOST):
                raise
            length *= 4


def _each(read: Callable[[str], Read], names: tuple[str, ...], spec: ModelSpec) -> list[Read]:
    """What `read` gives for each file, several at a time. ModelUnservable names the first damaged one."""

    def one(name: str) -> Read:
        try:
            return read(name)
        except BadHeader as error:
            raise ModelUnservable(
                f"{name} of {spec.ref.name} is damaged: {error}.", hint="copy it again, and compare its size"
            ) from error

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, names))
