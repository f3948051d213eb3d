"""A model: what it is called, where it lies, and what looking at it told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from llm_atc.errors import UsageError

OWN_PREFIX = "llm-atc/"
BUCKET_SCHEMES = ("s3://", "gs://")
_PATHS = ("/", "./", "../", "~")
# A path or an address may hold a colon of its own: only what looks like a quantization is one there.
_QUANTIZED = re.compile(
    r"(?P<place>.*[^/:]/?):(?P<quantization>(?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|[MN][XV]FP4(?:_[A-Z]+)?|BF16|FP?16|F32))",
    re.IGNORECASE,
)
_ON_HUB = re.compile(r"(?P<place>[^:@]+)(?:@(?P<revision>[\w][\w./-]*))?(?::(?P<quantization>\w[\w.-]*))?")


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
    trailing slash, or a path. `revision` is a hub's branch, tag or commit, and `quantization` one of several
    GGUF files that lie there together.
    """

    name: str
    where: Where
    location: str
    revision: str | None = None
    quantization: str | None = None

    @classmethod
    def parse(cls, name: str, source: str | None = None, revision: str | None = None) -> ModelRef:
        """Read --name, --source and --revision: `OWNER/NAME@REVISION:QUANTIZATION`, an address or a path.

        Raises UsageError for a name that is no repository id, path or llm-atc name, for an llm-atc name
        without a source, and for a revision of anything but a repository.
        """
        name = name.strip()
        if not name or any(ch.isspace() or not ch.isprintable() for ch in name) or name.startswith("-"):
            raise UsageError(f"{name!r} is not a model's name.", hint="--name Qwen/Qwen3-0.6B")
        ref = cls._placed(name, source)
        if revision is None:
            return ref
        if ref.where is not Where.HUB:
            raise UsageError(
                f"--revision {revision} is for a hub's model, and {ref.location} is none.",
                hint="leave --revision away",
            )
        if ref.revision not in (None, revision):
            raise UsageError(f"{name} and --revision {revision} name two revisions.", hint="leave one away")
        return cls._on_hub(
            f"{ref.location}@{revision}" + (f":{ref.quantization}" if ref.quantization else "")
        )

    @classmethod
    def _placed(cls, name: str, source: str | None) -> ModelRef:
        if source is not None:
            where, location, quantization = _place_of(source)
            return cls(name=_short(name), where=where, location=location, quantization=quantization)
        if name.startswith(OWN_PREFIX):
            raise UsageError(
                f"{name} is a checkpoint of your own: say where it lies.",
                hint=f"--name {name} --source s3://BUCKET/PATH/   (or gs://BUCKET/PATH/)",
            )
        if name.startswith(BUCKET_SCHEMES):
            where, location, quantization = _place_of(name)
            called = OWN_PREFIX + _with(location.rsplit("/", 1)[-1], quantization)
            return cls(name=called, where=where, location=location, quantization=quantization)
        if name.startswith(_PATHS) or name in (".", ".."):
            location, quantization = _quantized(name)
            called = _with(_short(location), quantization)
            return cls(name=called, where=Where.DISK, location=location, quantization=quantization)
        return cls._on_hub(name)

    @classmethod
    def _on_hub(cls, text: str) -> ModelRef:
        found = _ON_HUB.fullmatch(text)
        if found is None or found["place"].count("/") > 1 or found["place"].endswith("/"):
            raise UsageError(
                f"{text!r} is neither a repository (OWNER/NAME) nor a path.",
                hint="a path begins with / or ./ or ~/   (or say OWNER/NAME@REVISION:QUANTIZATION)",
            )
        place, quantization = found["place"], found["quantization"]
        return cls(
            name=_with(place, quantization),
            where=Where.HUB,
            location=place,
            revision=found["revision"],
            quantization=quantization,
        )

    def __str__(self) -> str:
        """The place, revision and quantization as `parse` reads them."""
        revision = f"@{self.revision}" if self.revision else ""
        return _with(self.location + revision, self.quantization)


def _with(place: str, quantization: str | None) -> str:
    return f"{place}:{quantization}" if quantization else place


def _quantized(place: str) -> tuple[str, str | None]:
    found = _QUANTIZED.fullmatch(place)
    return (found["place"], found["quantization"]) if found else (place, None)


def _place_of(source: str) -> tuple[Where, str, str | None]:
    source = source.strip()
    for scheme, where in zip(BUCKET_SCHEMES, (Where.S3, Where.GCS), strict=True):
        if source.startswith(scheme):
            bucket, quantization = _quantized(source.removeprefix(scheme).strip("/"))
            bucket = bucket.strip("/")
            if not bucket:
                raise UsageError(
                    f"--source {source!r} names no bucket.", hint=f"--source {scheme}BUCKET/PATH/"
                )
            return where, scheme + bucket, quantization
    if source.startswith(_PATHS):
        return Where.DISK, *_quantized(source)
    raise UsageError(
        f"--source {source!r} is not an address that llm-atc can read.",
        hint="--source s3://BUCKET/PATH/, gs://BUCKET/PATH/, or a directory (/…, ./…, ~/…)",
    )


def _short(name: str) -> str:
    path = name.startswith((*_PATHS, "."))
    return name.rstrip("/").rsplit("/", 1)[-1] or name if path else name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What is known of a model; `looked` says whether anybody looked, or all the rest is assumed.

    Sizes are bytes. `revision` is the hub's commit. `file` is the GGUF file to load, below the location, and
    `quantizations` are all that lie there, the file's own first; also beside weights of another format.
    `safetensors` says that the weights are those, and that no others of that kind lie beside them.
    """

    ref: ModelRef
    looked: bool = False
    format: Format = Format.HUGGING_FACE
    runner: Runner = Runner.GENERATE
    architecture: str | None = None
    bytes: int | None = None
    revision: str | None = None
    file: str | None = None
    quantizations: tuple[str, ...] = ()
    safetensors: bool = False

    @classmethod
    def assumed(cls, ref: ModelRef) -> ModelSpec:
        """What holds of a model that nobody could look at: only GGUF has quantizations and such a name."""
        gguf = ref.quantization is not None or ref.location.lower().endswith(".gguf")
        form = Format.GGUF if gguf else Format.HUGGING_FACE
        return cls(ref=ref, format=form, revision=ref.revision)
