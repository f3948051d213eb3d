"""`--accelerator auto` and `--max-price`: from a request to the machines to try, in a world of fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llm_atc import launcher, planning
from llm_atc.errors import CloudNotReady, ModelGated, OfferError, SourceError, UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.architecture import Unknown
from llm_atc.plan.inference import Inference
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.request import Request, read_accelerators
from tests.fakes import NOON, Fakes
from tests.unit.markets import catalogue
from tests.unit.serving import yes
from tests.unit.test_fit import LLAMA_7B, model, weights

AUTO = Request(model="meta-llama/Llama-2-7b-hf", name="demo")


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    found = Fakes(folder=tmp_path)
    found.models.architecture, found.models.weights = model(LLAMA_7B), weights(LLAMA_7B)
    found.catalog.catalogue = catalogue(read=NOON)
    return found


def names(planned: planning.Planned) -> list[str]:
    return [str(one) for one in planned.plan.accelerators]


@pytest.mark.parametrize("typed", [(), ("auto",), ("AUTO",)])
def test_without_an_accelerator_the_cheapest_that_fits_are_planned(
    fakes: Fakes, typed: tuple[str, ...]
) -> None:
    planned = planning.plan(fakes.world, replace(AUTO, accelerators=read_accelerators(typed)))
    assert names(planned) == ["L4:1", "L4:2", "A100:1", "A100-80GB:2"]
    first = planned.plan.choices[0]
    assert (first.offer.cloud, first.hourly, first.spot) == ("gcp", 0.71, False)
    assert planned.plan.notes[0].startswith("The cheapest on which it fits: L4:1 on gcp/us-central1")


def test_every_accelerator_that_may_be_had_has_its_engine_options(fakes: Fakes) -> None:
    planned = planning.plan(fakes.world, replace(AUTO, engine_args=("--enable-log-outputs",)))
    served = ("--served-model-name", AUTO.model, "--gpu-memory-utilization", "0.9")
    logs = ("--enable-log-outputs", "--enable-log-requests")  # the second is added for the first
    two = ("--tensor-parallel-size", "2")
    assert planned.plan.arguments == (*served, *logs)
    assert {str(one.accelerator): one.arguments for one in planned.plan.by_accelerator} == {
        "L4:1": (*served, *logs),
        "L4:2": (*served, *two, *logs),
        "A100:1": (*served, *logs),
        "A100-80GB:2": (*served, *two, *logs),
    }


def test_auto_stands_alone() -> None:
    with pytest.raises(UsageError, match="auto stands alone"):
        read_accelerators(["auto,L4:1"])


def test_context_and_concurrency_choose_larger_machines(fakes: Fakes) -> None:
    assert names(planning.plan(fakes.world, replace(AUTO, concurrency=16)))[0] == "A100-80GB:2"
    short = replace(AUTO, engine_args=("--max-model-len", "1k"), max_price=0.75)
    assert names(planning.plan(fakes.world, short)) == ["L4:1"]


def test_a_context_and_gpus_of_llm_atcs_own_options_choose_as_the_engines_do(fakes: Fakes) -> None:
    short = replace(AUTO, inference=Inference(max_model_len=1024), max_price=0.75)
    assert names(planning.plan(fakes.world, short)) == ["L4:1"]
    two = planning.plan(fakes.world, replace(AUTO, inference=Inference(gpus=2))).plan
    assert {one.offer.accelerator.count for one in two.choices} == {2}


def test_price_place_and_spot_narrow_the_choice(fakes: Fakes) -> None:
    aws = replace(AUTO, place=Place(cloud="aws", region="us-east-1"), max_price=1.0)
    assert names(planning.plan(fakes.world, aws)) == ["L4:1"]
    spot = planning.plan(fakes.world, replace(AUTO, spot=True)).plan
    assert (spot.spot, spot.choices[0].hourly) == (True, 0.25)
    assert any(not one.spot for one in spot.choices)


def test_only_clouds_that_can_be_used_are_chosen_from(fakes: Fakes) -> None:
    fakes.cloud.usable = ("aws",)
    assert names(planning.plan(fakes.world, AUTO)) == ["L4:1"]
    fakes.catalog.catalogue = catalogue(read=NOON, clouds=("gcp",))
    assert planning.plan(fakes.world, AUTO, strict=False).plan.choices[0].offer.cloud == "gcp"
    assert fakes.catalog.reads == [("aws",), ()]


def test_a_cloud_that_cannot_be_used_is_told_before_anything_else(fakes: Fakes) -> None:
    fakes.cloud.no_clouds = CloudNotReady("No cloud is enabled in SkyPilot.")
    with pytest.raises(CloudNotReady):
        planning.plan(fakes.world, AUTO)


def test_named_accelerators_with_a_price_are_tried_in_their_order_within_it(fakes: Fakes) -> None:
    named = (Accelerator(name="A100"), Accelerator(name="L4", count=2))
    plan = planning.plan(fakes.world, replace(AUTO, accelerators=named, max_price=3.7)).plan
    assert [(str(one.offer.accelerator), one.hourly) for one in plan.choices] == [
        ("A100:1", 3.67),
        ("L4:2", 2.00),
    ]
    assert plan.by_accelerator == ()  # the task takes every GPU that it finds
    cheap = planning.plan(fakes.world, replace(AUTO, accelerators=named, max_price=2.5)).plan
    assert [str(one) for one in cheap.accelerators] == ["L4:2"]
    for strict in (True, False):  # a limit that cannot be kept is never dropped
        with pytest.raises(OfferError, match=r"costs \$1.00 an hour or less: the cheapest costs \$2.00"):
            planning.plan(fakes.world, replace(AUTO, accelerators=named, max_price=1.0), strict=strict)


def test_a_zone_is_chosen_in_with_its_region_only(fakes: Fakes) -> None:
    zone = Place(cloud="aws", zone="us-east-1a")
    with pytest.raises(UsageError, match="--zone us-east-1a needs its --region"):
        planning.plan(fakes.world, replace(AUTO, place=zone))
    planned = planning.plan(fakes.world, replace(AUTO, place=replace(zone, region="us-east-1")))
    assert names(planned) == ["L4:1"]


def test_a_model_that_fits_nowhere_is_told(fakes: Fakes) -> None:
    with pytest.raises(OfferError, match="fits on nothing that any cloud sells") as caught:
        planning.plan(fakes.world, replace(AUTO, concurrency=900))
    assert caught.value.hint == f"llm-atc accelerators --model {AUTO.model}"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (replace(AUTO, place=Place(cloud="kubernetes")), "kubernetes is in no catalogue of prices"),
        (replace(AUTO, num_nodes=2), "for several machines llm-atc does not choose one"),
    ],
)
def test_where_nobody_can_choose_an_accelerator_is_asked_for(fakes: Fakes, asked: Request, why: str) -> None:
    with pytest.raises(UsageError, match="say which accelerator") as caught:
        planning.plan(fakes.world, asked)
    assert why in caught.value.message
    assert caught.value.hint == "--accelerator L4:1   (or --cloud local for this machine)"


@pytest.mark.parametrize("strict", [True, False])
def test_a_model_that_cannot_be_looked_at_wants_an_accelerator_to_be_named(
    fakes: Fakes, strict: bool
) -> None:
    fakes.models.raises = SourceError("The model hub is out of reach.")
    with pytest.raises(
        SourceError, match=r"say which accelerator .*The model hub is out of reach\."
    ) as caught:
        planning.plan(fakes.world, AUTO, strict=strict)
    assert (caught.value.exit_code, caught.value.hint) == (
        1,
        "--accelerator L4:1   (or --cloud local for this machine)",
    )
    fakes.models.raises = ModelGated("It is gated.")
    with pytest.raises(ModelGated):
        planning.plan(fakes.world, AUTO, strict=strict)


def test_a_model_of_unknown_shape_wants_an_accelerator_to_be_named(fakes: Fakes) -> None:
    fakes.models.architecture = Unknown(name="New", reason="model_type 'new' is not one that is known")
    with pytest.raises(UsageError, match=r"how much memory .* takes is not known, since model_type 'new'"):
        planning.plan(fakes.world, AUTO)


def test_old_prices_are_used_and_told(fakes: Fakes) -> None:
    fakes.catalog.catalogue = replace(catalogue(read=NOON - 3 * 86400), stale="There is no network.")
    planned = planning.plan(fakes.world, AUTO)
    assert planned.warnings == ("Prices are 3 days old: newer ones cannot be had. There is no network.",)


def test_the_question_tells_an_hour_and_a_day(fakes: Fakes) -> None:
    asked: list[str] = []
    launcher.serve(fakes.world, AUTO, fakes.report, confirm=yes, order=asked.append, timeout=60)
    assert "for $1.50 an hour ($36.00 a day)?" in asked[0]


def test_llama_cpp_gets_one_set_of_options_for_every_machine_that_may_be_had(fakes: Fakes) -> None:
    ref = ModelRef.parse("me/tiny-GGUF")
    fakes.models.specs[ref.location] = ModelSpec(ref=ref, looked=True, format=Format.GGUF, file="tiny.gguf")
    plan = planning.plan(fakes.world, replace(AUTO, model="me/tiny-GGUF")).plan
    assert plan.by_accelerator == ()
    assert plan.arguments[:2] == ("--alias", "me/tiny-GGUF")
    assert plan.accelerators[0] == Accelerator(name="T4")


@pytest.mark.parametrize(
    "asked",
    [
        replace(AUTO, max_price=0.0),
        replace(AUTO, max_price=float("nan")),
        replace(AUTO, concurrency=0),
        replace(AUTO, place=Place(cloud="local"), max_price=1.0),
    ],
)
def test_a_price_or_number_of_requests_that_is_none_is_refused(fakes: Fakes, asked: Request) -> None:
    with pytest.raises(UsageError):
        planning.plan(fakes.world, asked)
