"""Which machine: from a model's facts and the catalogue to the cheapest offers on which it fits."""

from __future__ import annotations

from llm_atc.errors import UsageError
from llm_atc.plan.architecture import Unknown
from llm_atc.plan.command_line import parse_words
from llm_atc.plan.engine import EngineName
from llm_atc.plan.fit import Wish
from llm_atc.plan.inference import words_with_gpus
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.offers import Catalogue, Terms
from llm_atc.plan.picking import Picked, narrow, pick
from llm_atc.plan.plan import accelerator_wanted, choose_engine
from llm_atc.plan.request import Request
from llm_atc.plan.tuning import tune, wish_of
from llm_atc.ports import World

# SkyPilot's targets that are the user's own machines: in no catalogue, and without prices.
OWN = ("kubernetes", "slurm", "ssh")


def chosen(world: World, request: Request, facts: Facts, warnings: list[str], *, ask: bool) -> Picked:
    """The cheapest machines on which the model fits as asked.

    With `ask`, SkyPilot is asked which clouds may be used; without, what it said last counts. Raises
    OfferError when it fits on nothing that is allowed, UsageError where llm-atc cannot choose.
    """
    shape = facts.architecture
    name = facts.spec.ref.name
    if isinstance(shape, Unknown):
        raise accelerator_wanted(f"how much memory {name} takes is not known, since {shape.reason}.")
    if request.num_nodes > 1:
        raise accelerator_wanted("for several machines llm-atc does not choose one.")
    engine = choose_engine(request.engine, facts.spec)
    wish = _wish(world, engine, request)
    catalogue, terms = _market(world, request, warnings, ask=ask)
    return pick(
        name, engine, catalogue.offers, terms, lambda one: tune(shape, facts.weights, engine, one, wish)
    )


def narrowed(world: World, request: Request, warnings: list[str], *, ask: bool) -> Picked:
    """The machines with the accelerators that were named, at the price that is allowed."""
    catalogue, terms = _market(world, request, warnings, ask=ask)
    return narrow(request.model, catalogue.offers, terms)


def _market(world: World, request: Request, warnings: list[str], *, ask: bool) -> tuple[Catalogue, Terms]:
    place = request.place
    if place.zone is not None and place.region is None:
        raise UsageError(
            f"--zone {place.zone} needs its --region: the catalogue of prices knows no zones.",
            hint=f"--region … --zone {place.zone}",
        )
    if place.cloud in OWN:
        raise accelerator_wanted(f"{place.cloud} is in no catalogue of prices.")
    usable = world.cloud.clouds(place.cloud) if ask else ()
    catalogue = world.catalog.read(usable or ((place.cloud,) if place.cloud else ()))
    if catalogue.stale is not None:
        warnings.append(
            f"Prices are {catalogue.age(world.clock.now())} old: newer ones cannot be had. {catalogue.stale}"
        )
    terms = Terms(
        place=place,
        accelerators=request.accelerators,
        max_price=request.max_price,
        spot=request.spot,
        clouds=usable or catalogue.clouds,
    )
    return catalogue, terms


def _wish(world: World, engine: EngineName, request: Request) -> Wish:
    """What the user's own words for the engine ask of memory; vLLM wants a model before some of them."""
    model = ("model",) if engine is EngineName.VLLM else ()
    common = words_with_gpus(request.inference, engine)
    read = parse_words((*model, *common, *request.engine_args), world.options(engine))
    return wish_of(read.options, request.concurrency)
