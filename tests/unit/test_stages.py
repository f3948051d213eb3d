"""A model dealt out to pipeline stages: layers as vLLM deals them, bytes kept, and what fits then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.architecture import Architecture, Attention, Dtype
from llm_atc.plan.fit import Verdict, Wish, judge
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.plan import make_plan
from llm_atc.plan.request import Place, Request
from llm_atc.plan.stages import dealt, parts, uneven
from llm_atc.plan.tensors import Tensor
from llm_atc.plan.tuning import besides
from llm_atc.plan.vllm import stages_of
from llm_atc.plan.weights import Weights, loaded, of_tensors

LAYERS, WIDTH, WORDS = 30, 4096, 32000
REF = ModelRef.parse("Qwen/Qwen3-0.6B")
MODEL = Architecture(
    name="LlamaForCausalLM",
    layers=LAYERS,
    caches=(Attention(heads=8, key=128, value=128),) * LAYERS,
    hidden=WIDTH,
    heads=32,
    vocabulary=WORDS,
    context=8192,
    dtype=Dtype.BFLOAT16,
    inner=4 * WIDTH,
)


def tensor(name: str, *shape: int) -> Tensor:
    values = 1
    for size in shape:
        values *= size
    return Tensor(name=name, dtype="BF16", shape=shape, bytes=2 * values)


def weights(layer: int = 12 * WIDTH) -> Weights:
    named = [tensor(f"model.layers.{n}.mlp.up_proj.weight", layer, WIDTH) for n in range(LAYERS)]
    ends = [tensor("model.embed_tokens.weight", WORDS, WIDTH), tensor("lm_head.weight", WORDS, WIDTH)]
    tower = tensor("visual.blocks.29.attn.weight", WIDTH, WIDTH)
    return of_tensors([*named, *ends, tower, tensor("model.norm.weight", WIDTH)])


@pytest.mark.parametrize(
    ("layers", "stages", "found"),
    [
        (32, 1, (32,)),
        (32, 4, (8, 8, 8, 8)),
        (32, 3, (11, 11, 10)),
        (30, 4, (7, 8, 8, 7)),
        (61, 8, (7, 7, 8, 8, 8, 8, 8, 7)),
    ],
)
def test_layers_are_dealt_out_as_vllm_does(layers: int, stages: int, found: tuple[int, ...]) -> None:
    assert dealt(layers, stages) == found


@given(some.integers(1, LAYERS))
def test_every_layer_and_every_byte_is_on_one_stage(stages: int) -> None:
    dealt_out = list(parts(MODEL, weights(), stages))
    assert (
        sum(part.layers for part, _ in dealt_out) == sum(len(part.caches) for part, _ in dealt_out) == LAYERS
    )
    assert sum(its.bytes for _, its in dealt_out) == weights().bytes


def test_the_ends_have_what_stands_before_and_behind_the_layers() -> None:
    (_, first), (_, last) = parts(MODEL, weights(), 2)
    beside = [{one.name for one in its.tensors if "layers" not in one.name} for its in (first, last)]
    assert beside == [
        {"model.embed_tokens.weight", "visual.blocks.29.attn.weight"},
        {"lm_head.weight", "model.norm.weight"},
    ]


def test_an_embedding_that_is_the_output_too_is_loaded_at_both_ends() -> None:
    tied = replace(MODEL, tied=True)
    (first, its), *_, (last, others) = parts(tied, weights(), 3)
    embedding = 2 * WORDS * WIDTH
    assert loaded(its, first, Dtype.BFLOAT16) - loaded(others, last, Dtype.BFLOAT16) == 2 * WIDTH * (
        WIDTH - 1
    )
    assert loaded(others, last, Dtype.BFLOAT16) > embedding


def test_weights_without_headers_are_shared_evenly() -> None:
    sizes = Weights(bytes=10, parameters=None, exact=False)
    assert [its.bytes for _, its in parts(MODEL, sizes, 3)] == [4, 4, 4]


def verdict(on: str, layer: int = 12 * WIDTH, **wish: Any) -> Verdict:
    return judge(MODEL, weights(layer), Accelerator.parse(on), Wish(**wish))


def test_what_is_too_large_for_one_gpu_fits_on_two_stages() -> None:
    large = 24 * WIDTH  # 24 GB of layers
    assert not verdict("L4:1", large).fits
    staged = verdict("L4:2", large, stages=2)
    assert staged.fits
    assert staged.split is not None
    whole = sum(its.bytes for _, its in parts(MODEL, weights(large), 1))
    assert whole / 2 < staged.split.weights < whole * 0.6


def test_what_does_not_divide_is_said() -> None:
    assert uneven(MODEL, 4) == "the stages have 7, 8, 8, 7 layers"
    assert "the stages have 7, 8, 8, 7 layers" in verdict("L4:4", stages=4).notes
    assert uneven(MODEL, 3) is None


def test_more_stages_than_gpus_or_layers_are_refused() -> None:
    assert verdict("L4:2", ranks=2, stages=2).reason == (
        "--tensor-parallel-size 2 with --pipeline-parallel-size 2 needs 4 GPUs, and L4:2 has 2"
    )
    assert verdict("L4:32", stages=32).reason == "30 layers are fewer than 32 stages"


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        ((), 1),
        (("--pipeline-parallel-size", "2"), 2),
        (("--pipeline_parallel_size=4",), 4),
        (("--x", "y", "-pp", "3"), 3),
        (("--pipeline-parallel-size", "two"), 1),
        (("--pipeline-parallel-size",), 1),
    ],
)
def test_the_users_own_options_tell_the_stages(words: tuple[str, ...], stages: int) -> None:
    assert stages_of(words) == stages


def test_the_gpus_of_a_stage_share_its_layers() -> None:
    said = {"pipeline_parallel_size": 2, "max_model_len": 4096, "dtype": "bfloat16"}
    assert besides(MODEL, weights(), Accelerator.parse("A100:4"), said) == ("--tensor-parallel-size", "2")
    assert besides(MODEL, weights(), Accelerator.parse("A100:2"), said) == ("--tensor-parallel-size", "1")


def test_a_plan_leaves_the_other_stages_their_gpus() -> None:
    place, words = Place(cloud="aws"), ("--pipeline-parallel-size", "2")
    machines = (Accelerator.parse("A100:4"),)
    request = Request(model=REF, place=place, accelerators=machines, engine_args=words)
    plan = make_plan(request, ModelSpec(ref=REF, looked=True))
    assert plan.arguments[plan.arguments.index("--tensor-parallel-size") + 1] == "2"
