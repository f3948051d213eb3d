"""Request + model + engine → how the weights come to a cloud machine, and why that way."""

from __future__ import annotations

from dataclasses import replace

from llm_atc.errors import UsageError
from llm_atc.plan import vllm
from llm_atc.plan.delivery import Delivery, Way
from llm_atc.plan.engine import EngineName, Pin
from llm_atc.plan.model import Format, ModelSpec, Where
from llm_atc.plan.request import Request

GIB = 1024**3
# Below it a copy takes less than a minute, and the next start reads it from the disk.
WORTH_STREAMING = 8 * GIB
# Tried together with the pinned vLLM: what `vllm[runai]` would install, without its parts for other clouds.
BOTO = "boto3==1.44.5"
STREAMER = ("runai-model-streamer==0.17.0", "runai-model-streamer-s3==0.17.1", BOTO)
STREAM = ("--load-format", "runai_streamer")
_LOAD_FORMAT = "--load-format"


def decide_delivery(request: Request, model: ModelSpec, engine: EngineName, pin: Pin) -> Delivery | None:
    """How the weights come to a cloud's machine; None on this machine.

    Raises UsageError where the way that was asked for does not lead there.
    """
    if request.place.local:
        return None
    found = _way(request, model, engine, pin)
    if request.cache is None:
        return found
    _check_cache(request, engine)
    return replace(found, cache=request.cache, beside=tuple(dict.fromkeys((*found.beside, BOTO))))


def _way(request: Request, model: ModelSpec, engine: EngineName, pin: Pin) -> Delivery:
    if model.ref.where is Where.HUB:
        return _from_hub(request, model)
    cannot = _cannot_stream(request, model, engine, pin)
    match request.weights:
        case Way.STREAM if cannot is not None:
            raise UsageError(f"--weights stream: {cannot}.", hint="--weights copy")
        case Way.STREAM:
            return _stream("The weights are streamed from the bucket, as you asked")
        case Way.COPY:
            return _copy("as you asked")
        case _:
            return _copy(cannot) if cannot is not None else _by_size(model, request)


def _from_hub(request: Request, model: ModelSpec) -> Delivery:
    if request.weights is None:
        return Delivery(way=Way.HUB, why="The engine downloads the weights from the hub.")
    raise UsageError(
        f"--weights {request.weights} is for a checkpoint in a bucket: "
        f"{model.ref.name} is downloaded from the hub.",
        hint="leave --weights away",
    )


def _check_cache(request: Request, engine: EngineName) -> None:
    """UsageError for what the cache has not been made for."""
    reasons = (
        (engine is not EngineName.VLLM, "it is for vLLM only"),
        (request.num_nodes > 1, "it is kept by one machine only"),
        (request.image is not None, "it has not been tried with images"),
    )
    for found, why in reasons:
        if found:
            raise UsageError(f"--cache {request.cache}: {why}.", hint="leave --cache away")


def arguments_of(delivery: Delivery | None) -> tuple[str, ...]:
    """What the engine must be told."""
    return delivery.arguments if delivery is not None else ()


def said(delivery: Delivery | None) -> tuple[str, ...]:
    """What a user may wonder about: a bucket's weights can come in more than one way."""
    if delivery is None:
        return ()
    told = () if delivery.way is Way.HUB else (delivery.why,)
    if delivery.cache is None:
        return told
    what = "Weights and compiled code" if delivery.way is Way.HUB else "What the engine compiles"
    return (*told, f"{what}: taken from {delivery.cache}, or put there once the engine is ready.")


def _cannot_stream(request: Request, model: ModelSpec, engine: EngineName, pin: Pin) -> str | None:
    """Why the weights cannot be streamed, in half a sentence; None where they can."""
    reasons = (
        (model.ref.where is Where.DISK, "they lie on this machine"),
        (model.ref.where is not Where.S3, "only weights in s3:// can be streamed"),
        (engine is not EngineName.VLLM or model.format is not Format.HUGGING_FACE, "only vLLM streams"),
        (pin != vllm.CURRENT.pin, f"streaming has been tried with vLLM {vllm.CURRENT.pin.version} only"),
        (model.looked and not model.safetensors, "only one set of safetensors can be streamed"),
        (request.num_nodes > 1, "several machines read their own copies"),
        (request.image is not None, "streaming has not been tried with images"),
        (_says_load_format(request.engine_args), f"your own {_LOAD_FORMAT} says how they are loaded"),
    )
    return next((why for found, why in reasons if found), None)


def _by_size(model: ModelSpec, request: Request) -> Delivery:
    if model.bytes is None:
        return _copy("their size is not known")
    if model.bytes < WORTH_STREAMING:
        return _copy(f"{model.bytes / GIB:.1f} GiB are soon copied, and the next start reads them there")
    if request.inference.gpus != 1 and any(one.count > 1 for one in request.accelerators):
        return _copy("each of several GPUs would read all of them from the bucket")
    return _stream(
        f"{model.bytes / GIB:.1f} GiB of weights are streamed from the bucket into the GPU's memory, "
        "at each start"
    )


def _copy(why: str) -> Delivery:
    return Delivery(way=Way.COPY, why=f"The weights are copied to the machine's disk before the job: {why}.")


def _stream(why: str) -> Delivery:
    return Delivery(way=Way.STREAM, why=f"{why}.", beside=STREAMER, arguments=STREAM)


def _says_load_format(words: tuple[str, ...]) -> bool:
    return any(word.partition("=")[0].replace("_", "-") == _LOAD_FORMAT for word in words)
