"""`llm-atc accelerators`: what can be had where, at what price, and what of it fits a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, finite

if TYPE_CHECKING:
    from llm_atc.plan.accelerators import Accelerator
    from llm_atc.plan.fit import Wish
    from llm_atc.plan.offers import Catalogue
    from llm_atc.plan.tuning import Tuner
    from llm_atc.ports import World

Option = typer.Option


def accelerators(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Every offer of this one: L4, or A100:2.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, Option("--model", help="Say where this model fits, and what a million tokens cost.")
    ] = None,
    source: Annotated[
        str | None, Option("--source", help="Where the checkpoint lies: s3://…, gs://… or a directory.")
    ] = None,
    max_model_len: Annotated[
        int | None, Option("--max-model-len", min=1, help="The context that is wanted, in tokens.")
    ] = None,
    concurrency: Annotated[
        int, Option("--concurrency", min=1, help="So many requests of that length at once.")
    ] = 1,
    cloud: Annotated[str | None, Option("--cloud", help="A cloud that SkyPilot knows.")] = None,
    region: Annotated[str | None, Option("--region", help="A region of that cloud.")] = None,
    max_price: Annotated[
        float | None,
        Option("--max-price", callback=finite, help="The most that a machine may cost, in dollars an hour."),
    ] = None,
    spot: Annotated[bool, Option("--spot", help="Spot machines too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what can be had where, and for how much; with --model, what of it the model fits on."""
    from llm_atc.cli import output
    from llm_atc.cli.offer_table import offer_table
    from llm_atc.cli.serve import open_world
    from llm_atc.plan.fit import Wish
    from llm_atc.plan.flag_checks import check_price
    from llm_atc.plan.market import cheapest, rows
    from llm_atc.plan.offers import Terms, nothing_allowed
    from llm_atc.plan.places import read_place

    check_price(max_price)
    world = open_world()
    place = read_place(cloud, region, None)
    catalogue = world.catalog.read((place.cloud,) if place.cloud else ())
    terms = Terms(
        place=place,
        accelerators=_named(name, catalogue),
        max_price=max_price,
        spot=spot,
        clouds=catalogue.clouds,
    )
    wish = Wish(max_model_len=max_model_len, concurrency=concurrency)
    found = rows(catalogue.offers, terms, _tuner(world, model, source, wish) if model else None, wish)
    if not found:
        raise nothing_allowed(catalogue.offers, terms, model or "It")
    _tell_age(world, catalogue)
    if as_json:
        output.print_json([row.facts() for row in found])
    else:
        table = offer_table(found if name else cheapest(found), with_model=model is not None)
        output.data().print(table)


def _named(name: str | None, catalogue: Catalogue) -> tuple[Accelerator, ...]:
    """The accelerators that a name means: with a number that one, without it all numbers that are sold."""
    from llm_atc.plan.accelerators import Accelerator, unknown_accelerator

    if name is None:
        return ()
    wanted = Accelerator.parse(name)
    if ":" in name:
        return (wanted,)
    sold = {offer.accelerator for offer in catalogue.offers}
    alike = tuple(sorted((one for one in sold if one.name == wanted.name), key=lambda one: one.count))
    if not alike:
        raise unknown_accelerator(wanted, tuple({one.name for one in sold}))
    return alike


def _tuner(world: World, model: str, source: str | None, wish: Wish) -> Tuner:
    from llm_atc.errors import ModelUnservable
    from llm_atc.plan.architecture import Unknown
    from llm_atc.plan.model import ModelRef
    from llm_atc.plan.plan import choose_engine
    from llm_atc.plan.tuning import tune

    facts = world.models.measure(ModelRef.parse(model, source), None)
    shape = facts.architecture
    if isinstance(shape, Unknown):
        raise ModelUnservable(
            f"How much memory {model} takes is not known: {shape.reason}.", hint=f"llm-atc fit {model}"
        )
    engine = choose_engine(None, facts.spec)
    return lambda accelerator: tune(shape, facts.weights, engine, accelerator, wish)


def _tell_age(world: World, catalogue: Catalogue) -> None:
    from llm_atc.cli import output

    age = f"· Prices are SkyPilot's, read {catalogue.age(world.clock.now())} ago."
    why = f" Newer ones cannot be had: {catalogue.stale}" if catalogue.stale else ""
    output.talk().print(age + why, style="yellow" if why else "dim", markup=False)
    if catalogue.clouds is None:
        output.talk().print(
            "· Which clouds you may use is not known here (sky check): these are all of them.",
            style="dim",
            markup=False,
        )
