"""A model: what it is called, where it lies, and what looking at it told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llm_atc.errors import UsageError

OWN_PREFIX = "llm-atc/"
BUCKET_SCHEMES = ("s3://", "gs://")


class Where(StrEnum):
    """The kinds of place that a checkpoint comes from."""

    HUB = "hub"
    S3 = "s3"
    GCS = "gcs"
    DISK = "disk"


class Format(StrEnum):
    """How a checkpoint is stored, which decides the engines that can load it."""

    HUGGING_FACE = "hugging-face"
    GGUF = "gguf"


class Runner(StrEnum):
    """What a model answers, in vLLM's words: it generates tokens, or pools them into an embedding."""

    GENERATE = "generate"
    POOLING = "pooling"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model by name and place.

    `name` is what requests call it. `location` is a repository id, an `s3://` or `gs://` address without a
    trailing slash, or a path.
    """

    name: str
    where: Where
    location: str

    @classmethod
    def parse(cls, name: str, source: str | None = None) -> ModelRef:
        """Read --name and --source.

        Raises UsageError for a name that is no repository id, path or llm-atc name, and for an llm-atc
        name without a source.
        """
        name = name.strip()
        if not name or any(ch.isspace() or not ch.isprintable() for ch in name) or name.startswith("-"):
            raise UsageError(f"{name!r} is not a model's name.", hint="--name Qwen/Qwen3-0.6B")
        if source is not None:
            where, location = _place_of(source)
            return cls(name=_short(name), where=where, location=location)
        if name.startswith(OWN_PREFIX):
            raise UsageError(
                f"{name} is a checkpoint of your own: say where it lies.",
                hint=f"--name {name} --source s3://BUCKET/PATH/   (or gs://BUCKET/PATH/)",
            )
        if name.startswith(BUCKET_SCHEMES):
            where, location = _place_of(name)
            return cls(name=OWN_PREFIX + location.rsplit("/", 1)[-1], where=where, location=location)
        if name.startswith(("/", "./", "../", "~")) or name in (".", ".."):
            return cls(name=_short(name), where=Where.DISK, location=name)
        if name.count("/") > 1 or name.endswith("/") or ":" in name:
            raise UsageError(
                f"{name!r} is neither a repository (OWNER/NAME) nor a path.",
                hint="a path begins with / or ./ or ~/",
            )
        return cls(name=name, where=Where.HUB, location=name)


def _place_of(source: str) -> tuple[Where, str]:
    source = source.strip()
    for scheme, where in zip(BUCKET_SCHEMES, (Where.S3, Where.GCS), strict=True):
        if source.startswith(scheme):
            bucket = source.removeprefix(scheme).strip("/")
            if not bucket:
                raise UsageError(
                    f"--source {source!r} names no bucket.", hint=f"--source {scheme}BUCKET/PATH/"
                )
            return where, scheme + bucket
    if source.startswith(("/", "./", "../", "~")):
        return Where.DISK, source
    raise UsageError(
        f"--source {source!r} is not an address that llm-atc can read.",
        hint="--source s3://BUCKET/PATH/, gs://BUCKET/PATH/, or a directory (/…, ./…, ~/…)",
    )


def _short(name: str) -> str:
    path = name.startswith(("/", "./", "../", "~", "."))
    return name.rstrip("/").rsplit("/", 1)[-1] or name if path else name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What is known of a model; `looked` says whether anybody looked, or all the rest is assumed.

    Sizes are bytes. `revision` is the hub's commit. `file` is the GGUF file to load, below the location.
    """

    ref: ModelRef
    looked: bool = False
    format: Format = Format.HUGGING_FACE
    runner: Runner = Runner.GENERATE
    architecture: str | None = None
    bytes: int | None = None
    revision: str | None = None
    file: str | None = None
