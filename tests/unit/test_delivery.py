"""How weights come to a cloud machine, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.deciding_delivery import BOTO, GIB, STREAM, STREAMER, decide_delivery, said
from llm_atc.plan.delivery import Delivery, Way, read_cache, read_way
from llm_atc.plan.engine import EngineName
from llm_atc.plan.inference import Inference
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.request import Request
from llm_atc.plan.vllm import CURRENT, VOLTA

LARGE = ModelSpec(
    ref=ModelRef.parse("llm-atc/large", "s3://bucket/large"), looked=True, bytes=14 * GIB, safetensors=True
)
SMALL = replace(LARGE, bytes=2 * GIB)
ONE_GPU = Request(model="llm-atc/large", accelerators=(Accelerator(name="L4"),))


def decided(model: ModelSpec = LARGE, engine: EngineName = EngineName.VLLM, **asked: Any) -> Delivery:
    pin = asked.pop("pin", CURRENT.pin)
    found = decide_delivery(replace(ONE_GPU, **asked), model, engine, pin)
    assert found is not None
    return found


def at(source: str, **changes: Any) -> ModelSpec:
    return replace(LARGE, ref=ModelRef.parse("llm-atc/large", source), **changes)


def test_large_weights_in_s3_are_streamed_into_one_gpu() -> None:
    found = decided()
    assert (found.way, found.beside, found.arguments) == (Way.STREAM, STREAMER, STREAM)
    assert found.why == (
        "14.0 GiB of weights are streamed from the bucket into the GPU's memory, at each start."
    )


@pytest.mark.parametrize(
    ("model", "asked", "why"),
    [
        (SMALL, {}, "2.0 GiB are soon copied, and the next start reads them there"),
        (replace(LARGE, bytes=None), {}, "their size is not known"),
        (at("gs://bucket/large"), {}, "only weights in s3:// can be streamed"),
        (at("/srv/large"), {}, "they lie on this machine"),
        (replace(LARGE, safetensors=False), {}, "only one set of safetensors can be streamed"),
        (LARGE, {"pin": VOLTA.pin}, "streaming has been tried with vLLM 0.32.0 only"),
        (LARGE, {"num_nodes": 2}, "several machines read their own copies"),
        (LARGE, {"image": "docker:x"}, "streaming has not been tried with images"),
        (LARGE, {"engine_args": ("--load_format=dummy",)}, "your own --load-format says how they are loaded"),
        (
            LARGE,
            {"accelerators": (Accelerator(name="L4", count=2),)},
            "each of several GPUs would read all of them from the bucket",
        ),
        (LARGE, {"weights": Way.COPY}, "as you asked"),
    ],
)
def test_what_is_not_streamed_is_copied_and_the_reason_said(
    model: ModelSpec, asked: dict[str, Any], why: str
) -> None:
    found = decided(model, **asked)
    assert (found.way, found.beside, found.arguments) == (Way.COPY, (), ())
    assert found.why == f"The weights are copied to the machine's disk before the job: {why}."


def test_gguf_is_copied() -> None:
    gguf = replace(LARGE, format=Format.GGUF, safetensors=False)
    assert "only vLLM streams" in decided(gguf, EngineName.LLAMA_CPP).why


def test_one_gpu_of_several_can_be_streamed_into() -> None:
    several = (Accelerator(name="L4", count=2),)
    assert decided(accelerators=several, inference=Inference(gpus=1)).way is Way.STREAM


@pytest.mark.parametrize("model", [SMALL, replace(LARGE, bytes=None), replace(LARGE, looked=False)])
def test_streaming_can_be_asked_for_whatever_the_size(model: ModelSpec) -> None:
    found = decided(model, weights=Way.STREAM)
    assert found.way is Way.STREAM
    assert found.why == "The weights are streamed from the bucket, as you asked."


def test_streaming_that_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError) as refused:
        decided(at("gs://bucket/large"), weights=Way.STREAM)
    assert refused.value.message == "--weights stream: only weights in s3:// can be streamed."
    assert refused.value.hint == "--weights copy"


def test_the_hubs_weights_are_the_engines_to_download() -> None:
    hub = replace(LARGE, ref=ModelRef.parse("Qwen/Qwen3-0.6B"))
    assert decided(hub).way is Way.HUB
    with pytest.raises(UsageError, match="--weights copy is for a checkpoint in a bucket"):
        decided(hub, weights=Way.COPY)


def test_nothing_is_decided_for_this_machine() -> None:
    here = replace(ONE_GPU, place=Place(cloud="local"))
    assert decide_delivery(here, LARGE, EngineName.VLLM, CURRENT.pin) is None


def test_a_cache_needs_its_library_beside_the_engine_whatever_the_way() -> None:
    hub = replace(LARGE, ref=ModelRef.parse("Qwen/Qwen3-0.6B"))
    found = decided(hub, cache="s3://mine/llm-atc")
    assert (found.way, found.cache, found.beside) == (Way.HUB, "s3://mine/llm-atc", (BOTO,))
    assert said(found) == (
        "Weights and compiled code: taken from s3://mine/llm-atc, or put there once the engine is ready.",
    )
    streamed = decided(cache="s3://mine/llm-atc")
    assert streamed.beside == STREAMER
    assert said(streamed)[1].startswith("What the engine compiles: taken from s3://mine/llm-atc")


@pytest.mark.parametrize(
    ("engine", "asked", "why"),
    [
        (EngineName.LLAMA_CPP, {}, "it is for vLLM only"),
        (EngineName.VLLM, {"num_nodes": 2}, "it is kept by one machine only"),
        (EngineName.VLLM, {"image": "docker:x"}, "it has not been tried with images"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(engine: EngineName, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=f"--cache s3://mine/x: {why}"):
        decided(LARGE, engine, cache="s3://mine/x", **asked)


@pytest.mark.parametrize("text", ["s3://mine", "s3://mine/", "s3://my.bucket-1/a/b/"])
def test_a_cache_is_a_place_in_a_bucket(text: str) -> None:
    assert read_cache(text) == text.rstrip("/")
    assert read_cache(None) is None


@pytest.mark.parametrize(
    "text", ["", "mine", "gs://mine/x", "s3://", "s3://MINE/x", "s3://mine/a b", "s3:/mine"]
)
def test_a_cache_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no place in a bucket of S3"):
        read_cache(text)


def test_auto_leaves_it_to_llm_atc() -> None:
    assert (read_way("auto"), read_way(None), read_way("stream")) == (None, None, Way.STREAM)
