"""Choosing from what is sold: within the terms, the cheapest first, on which the model fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.offers import (
    EACH,
    MOST,
    Choice,
    Offer,
    Terms,
    allowed,
    choose,
    nothing_allowed,
    sells,
)
from llm_atc.plan.picking import narrow
from llm_atc.plan.places import Place
from tests.unit.markets import OFFERS, catalogue, offer

NAMES = ("T4", "L4", "V100", "A100", "H100")
places = some.sampled_from(["aws/us-east-1", "aws/us-west-2", "gcp/us-central1", "lambda/us-east-1"])
prices = some.floats(0.01, 100, allow_nan=False)
offers = some.lists(
    some.builds(
        offer,
        some.builds("{}:{}".format, some.sampled_from(NAMES), some.sampled_from([1, 2, 4])),
        some.none() | prices,
        some.none() | prices,
        places,
        some.sampled_from(["a", "b", "c"]),
    ),
    max_size=40,
)
terms = some.builds(
    Terms,
    place=some.sampled_from(
        [Place(), Place(cloud="aws"), Place(cloud="aws", region="us-east-1"), Place(region="us-east-1")]
    ),
    max_price=some.none() | prices,
    spot=some.booleans(),
    clouds=some.none() | some.just(("aws", "gcp")),
)
fitting = some.frozensets(some.sampled_from(NAMES))


def is_allowed(one: Offer, price: float, within: Terms) -> bool:
    """What the terms mean, in other words than the code's."""
    there = (
        one.cloud == within.place.cloud if within.place.cloud else one.cloud in (within.clouds or [one.cloud])
    )
    region = within.place.region is None or within.place.region == one.region
    return there and region and (within.max_price is None or price <= within.max_price)


@given(offers, terms, fitting)
def test_the_first_choice_is_never_dearer_than_another_that_fits_and_is_allowed(
    sold: list[Offer], within: Terms, fits: frozenset[str]
) -> None:
    found = choose(sold, within, lambda accelerator: accelerator.name in fits)
    others = [
        price
        for one in sold
        if one.accelerator.name in fits
        for price in (one.price, one.spot_price if within.spot else None)
        if price is not None and is_allowed(one, price, within)
    ]
    assert (found[0].hourly if found else None) == min(others, default=None)


@given(offers, terms, fitting)
def test_what_is_chosen_fits_is_allowed_and_comes_by_its_price(
    sold: list[Offer], within: Terms, fits: frozenset[str]
) -> None:
    found = choose(sold, within, lambda accelerator: accelerator.name in fits)
    assert [one.hourly for one in found] == sorted(one.hourly for one in found)
    assert len(found) <= MOST
    for one in found:
        assert one.offer in sold
        assert one.offer.accelerator.name in fits
        assert is_allowed(one.offer, one.hourly, within)
        assert one.hourly == (one.offer.spot_price if one.spot else one.offer.price)
        assert within.spot or not one.spot


@given(offers, fitting)
def test_with_spot_something_on_demand_stays_to_fall_back_on(sold: list[Offer], fits: frozenset[str]) -> None:
    found = choose(sold, Terms(spot=True), lambda accelerator: accelerator.name in fits)
    could = any(one.price is not None and one.accelerator.name in fits for one in sold)
    assert any(not one.spot for one in found) is could


def test_a_shortage_of_one_accelerator_leaves_others_to_try() -> None:
    many = [offer("T4:1", 0.5 + n / 100, where=f"aws/r{n}") for n in range(40)]
    found = choose([*many, offer("A100:1", 9.0)], Terms(), lambda accelerator: True)
    names = [one.offer.accelerator.name for one in found]
    assert names == ["T4"] * EACH + ["A100"]


def test_an_accelerator_that_wants_another_engine_than_the_first_is_left_out() -> None:
    found = choose(OFFERS, Terms(), lambda accelerator: True, lambda first, other: first.name == other.name)
    assert {one.offer.accelerator.name for one in found} == {"T4"}


def test_named_accelerators_are_tried_in_the_order_in_which_they_are_named() -> None:
    named = (Accelerator(name="A100"), Accelerator(name="L4"))
    found = narrow("m", OFFERS, Terms(accelerators=named, max_price=4.0))
    assert [(str(one.offer.accelerator), one.hourly) for one in found.choices] == [
        ("A100:1", 3.67),
        ("L4:1", 0.71),
        ("L4:1", 0.80),
    ]
    assert found.accelerators == named


@pytest.mark.parametrize(
    ("within", "message", "hint"),
    [
        (Terms(place=Place(cloud="lambda")), "lambda does not sell any accelerator.", "llm-atc accelerators"),
        (
            Terms(place=Place(cloud="aws"), accelerators=(Accelerator(name="A100", count=8),)),
            "aws does not sell A100:8.",
            "llm-atc accelerators",
        ),
        (
            Terms(max_price=0.5),
            "No machine on any cloud costs $0.50 an hour or less: the cheapest costs $0.53.",
            "--max-price 0.53",
        ),
        (
            Terms(max_price=0.2, spot=True),
            "No machine on any cloud costs $0.20 an hour or less: the cheapest costs $0.21.",
            "--max-price 0.21",
        ),
        (
            Terms(max_price=1.0),
            "m fits on nothing that any cloud sells for $1.00 an hour or less, "
            "with the context and concurrency asked for.",
            "llm-atc accelerators --model m",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(within: Terms, message: str, hint: str) -> None:
    error = nothing_allowed(OFFERS, within, "m")
    assert (error.message, error.hint) == (message, hint)


def test_a_choice_is_told_with_its_price() -> None:
    choice = Choice(offer=OFFERS[0], spot=True, hourly=0.21)
    assert str(choice) == "T4:1 on aws/us-east-1 (g4dn.xlarge, spot) for $0.21 an hour"


@pytest.mark.parametrize(
    ("now", "age"), [(0.0, "0 min"), (1800.0, "30 min"), (3 * 3600.0, "3 hours"), (10 * 86400.0, "10 days")]
)
def test_an_age_is_told_for_people(now: float, age: str) -> None:
    assert catalogue().age(now) == age


def test_a_machine_is_sold_where_the_catalogue_has_it_and_in_no_zone() -> None:
    l4 = Accelerator(name="L4")
    assert sells(OFFERS, Place(), l4)
    assert sells(OFFERS, Place(cloud="gcp", region="us-central1"), l4)
    assert not sells(OFFERS, Place(cloud="gcp", region="us-east1"), l4)
    assert not sells(OFFERS, Place(), replace(l4, count=8))
    assert not sells(OFFERS, Place(cloud="aws", region="us-east-1", zone="us-east-1a"), l4)  # not known


def test_allowed_is_every_way_to_take_an_offer() -> None:
    found = allowed(OFFERS[:2], Terms(spot=True))
    assert [(one.hourly, one.spot) for one in found] == [
        (0.21, True),
        (0.33, True),
        (0.53, False),
        (0.80, False),
    ]
