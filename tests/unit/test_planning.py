"""From a request to a plan, in a world of fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llm_atc import launcher, planning
from llm_atc.errors import (
    CloudError,
    ModelNotFound,
    OfferError,
    UsageError,
)
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.backend_words import Backend
from llm_atc.plan.engine import EngineName
from llm_atc.plan.request import Request
from llm_atc.ports import Sold
from llm_atc.sources.models import AllModels
from tests.fakes import Fakes
from tests.unit.serving import A100, CLOUD, HERE, L4, NEEDS_TOKEN, is_forgotten, yes


def test_a_plan_is_made_of_what_was_seen(fakes: Fakes) -> None:
    planned = planning.plan(fakes.world, NEEDS_TOKEN)
    assert (planned.plan.name, planned.warnings) == ("demo", ())
    assert [(ref.location, token) for ref, token in fakes.models.looked] == [("Qwen/Qwen3-0.6B", "hf_given")]


def test_planning_starts_and_remembers_nothing(fakes: Fakes) -> None:
    planning.plan(fakes.world, CLOUD)
    assert fakes.cloud.calls == []
    assert is_forgotten(fakes)


def test_flags_that_contradict_each_other_are_told_before_anybody_is_asked(fakes: Fakes) -> None:
    with pytest.raises(UsageError, match="--spot is for a cloud"):
        planning.plan(fakes.world, replace(HERE, spot=True), strict=False)
    assert fakes.models.looked == []


def test_a_model_that_is_not_there_ends_a_strict_plan_and_warns_in_another(fakes: Fakes) -> None:
    fakes.models.raises = ModelNotFound("No model 'x'.")
    with pytest.raises(ModelNotFound):
        planning.plan(fakes.world, CLOUD)
    planned = planning.plan(fakes.world, CLOUD, strict=False)
    assert planned.problems == (fakes.models.raises,)
    assert planned.plan.model.looked is False


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("Qwen/Qwen3-0.6B-GGUF:Q8_0", EngineName.LLAMA_CPP),
        ("s3://bucket/tiny.gguf", EngineName.LLAMA_CPP),
        ("./tiny.GGUF", EngineName.LLAMA_CPP),
        ("Qwen/Qwen3-0.6B-GGUF@main", EngineName.VLLM),
    ],
)
@pytest.mark.parametrize("request_", [CLOUD, HERE], ids=["cloud", "here"])
def test_a_model_that_nobody_can_look_at_is_what_its_name_says(
    fakes: Fakes, request_: Request, model: str, engine: EngineName
) -> None:
    fakes.models.raises = ModelNotFound("The hub is out of reach.")
    asked = replace(request_, model=model)
    assert planning.plan(fakes.world, asked, strict=False).plan.engine is engine
    both = planning.plan(fakes.world, replace(asked, engine=EngineName.VLLM), strict=False)
    assert both.plan.engine is EngineName.VLLM


@pytest.mark.parametrize("error", [OfferError("No such region."), CloudError("No catalogue can be read.")])
def test_a_catalogue_that_refuses_ends_a_strict_plan_and_warns_in_another(
    fakes: Fakes, error: OfferError | CloudError
) -> None:
    fakes.catalog.raises = error
    with pytest.raises(type(error)):
        planning.plan(fakes.world, CLOUD)
    assert planning.plan(fakes.world, CLOUD, strict=False).problems == (error,)


def test_both_lookups_that_fail_are_both_warned_of(fakes: Fakes) -> None:
    fakes.models.raises = ModelNotFound("No model.")
    fakes.catalog.raises = CloudError("No catalogue.")
    assert planning.plan(fakes.world, CLOUD, strict=False).problems == (
        fakes.models.raises,
        fakes.catalog.raises,
    )


def test_what_is_not_sold_there_is_told_with_the_nearest_that_is(fakes: Fakes) -> None:
    fakes.catalog.sold[L4] = Sold(exact=False, nearest=("L4:2 on gcp/us-east1 ($1.41 an hour)",))
    with pytest.raises(OfferError) as caught:
        planning.plan(fakes.world, CLOUD)
    assert caught.value.message == (
        "gcp does not sell L4:1. The nearest that is sold: L4:2 on gcp/us-east1 ($1.41 an hour)."
    )


def test_an_accelerator_that_nobody_sells_is_corrected(fakes: Fakes) -> None:
    wish = Accelerator(name="A1000", count=2)
    fakes.catalog.sold[wish] = Sold(exact=False, unknown=True, names=("A100", "L4"))
    with pytest.raises(OfferError, match=r"No accelerator is called 'A1000'\. Did you mean A100:2\?"):
        planning.plan(fakes.world, replace(CLOUD, accelerators=(wish,)))


def test_one_wish_that_is_sold_is_enough_and_the_others_are_warned_of(fakes: Fakes) -> None:
    fakes.catalog.sold[A100] = Sold(exact=False)
    planned = planning.plan(fakes.world, replace(CLOUD, accelerators=(A100, L4)))
    assert planned.warnings == ("gcp does not sell A100:1.",)


def test_of_several_wishes_that_nobody_sells_the_first_is_told(fakes: Fakes) -> None:
    fakes.catalog.sold = {A100: Sold(exact=False), L4: Sold(exact=False)}
    with pytest.raises(OfferError, match="does not sell A100:1"):
        planning.plan(fakes.world, replace(CLOUD, accelerators=(A100, L4)))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-modle-len", "4096"), "--max-model-len"),
        (("--max-model-len", "many"), "--max-model-len"),
        (("--dtype", "float8"), "--dtype"),
    ],
)
def test_an_engine_option_that_the_pinned_engine_refuses_is_refused_before_anything_starts(
    fakes: Fakes, words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        launcher.serve(fakes.world, replace(CLOUD, engine_args=words), fakes.report, confirm=yes, order=yes)
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert fakes.cloud.calls == []


def test_an_option_that_another_one_needs_is_added_and_told(fakes: Fakes) -> None:
    planned = planning.plan(fakes.world, replace(CLOUD, engine_args=("--enable-log-outputs",)))
    assert planned.plan.arguments[-2:] == ("--enable-log-outputs", "--enable-log-requests")
    assert "--enable-log-requests is added" in " ".join(planned.plan.notes)


@pytest.mark.parametrize(
    ("asked", "engine", "file"),
    [
        (None, EngineName.VLLM, None),
        (EngineName.VLLM, EngineName.VLLM, None),
        (EngineName.LLAMA_CPP, EngineName.LLAMA_CPP, "m-Q4_K_M.gguf"),
    ],
)
def test_what_both_engines_can_run_goes_to_vllm_unless_the_other_is_named(
    asked: EngineName | None, engine: EngineName, file: str | None, fakes: Fakes, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    folder.joinpath("config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    folder.joinpath("model.safetensors").write_bytes(b"12345678")
    for name in ("m-Q4_K_M.gguf", "m-Q8_0.gguf"):
        folder.joinpath(name).write_bytes(b"GGUF" + bytes(60))
    world = replace(fakes.world, models=AllModels(tmp_path / "home"))
    plan = planning.plan(world, replace(HERE, model=str(folder), engine=asked)).plan
    assert (plan.engine, plan.model.file) == (engine, file)
    assert not [note for note in plan.notes if "quantizations" in note]


def test_what_the_pinned_engine_would_refuse_is_a_note_where_another_runs(fakes: Fakes) -> None:
    own = replace(
        HERE,
        executables=((EngineName.VLLM, "python -m vllm"),),
        backend=Backend(after=("--max-modl-len", "4096")),
    )
    plan = planning.plan(fakes.world, own).plan
    assert plan.executable == ("python", "-m", "vllm")
    assert plan.arguments[-2:] == ("--max-modl-len", "4096")
    assert plan.notes[-1] == (
        "vLLM 0.32.0 would refuse this, and python runs instead: "
        "vLLM 0.32.0 has no option --max-modl-len. Did you mean --max-model-len?"
    )
    with pytest.raises(UsageError, match="has no option --max-modl-len"):
        planning.plan(fakes.world, replace(own, executables=()))
    with pytest.raises(UsageError, match="a quote that is never closed"):
        planning.plan(fakes.world, replace(own, executables=((EngineName.VLLM, "'"),)))
