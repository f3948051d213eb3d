"""What is known before a launch, gathered to be told; and the screen that `serve` shows before it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llm_atc.cli.request import settled

if TYPE_CHECKING:
    from llm_atc.outlook import Outlook
    from llm_atc.plan.offers import Catalogue
    from llm_atc.plan.outlook_facts import Told
    from llm_atc.plan.request import Request
    from llm_atc.ports import Quote, World

OFFERS = 6
BY_HAND = "Nothing ends it but llm-atc stop."


def tell(world: World, request: Request, found: Outlook, bandwidth: float = 1.0) -> Told:
    """Everything that was found, with the machines that would be tried at the prices that were read last.

    `bandwidth` is gigabits a second.
    """
    from llm_atc.plan.market import ahead
    from llm_atc.plan.offers import Terms
    from llm_atc.plan.outlook_facts import Told

    plan = found.plan
    catalogue = None if request.place.local or plan is None else world.catalog.kept()
    terms = Terms(
        place=request.place,
        accelerators=plan.accelerators if plan else (),
        max_price=request.max_price,
        spot=request.spot,
        clouds=catalogue.clouds if catalogue else None,
    )
    offers = catalogue.offers if catalogue else ()
    return Told(
        plan=plan,
        findings=found.findings,
        facts=found.facts,
        fit=found.fit,
        known=world.known(plan.engine) if plan else None,
        settled=settled(),
        rows=ahead(plan.choices if plan else (), offers, terms, found.fit, OFFERS),
        prices_age=catalogue.age(world.clock.now()) if catalogue else None,
        bandwidth=bandwidth,
        stops=BY_HAND if request.place.local else str(plan.ending) if plan else None,
        notes=found.notes,
    )


def screen(world: World, request: Request) -> Callable[[Outlook, Quote], None]:
    """What shows the essentials of a plan, on stderr: before the question, and where `--yes` answers it."""

    def show(found: Outlook, quote: Quote) -> None:
        from llm_atc.cli import output
        from llm_atc.cli.offer_table import offer_table
        from llm_atc.cli.plan_lines import essentials

        _catalogue(world)
        told = tell(world, request, found)
        console = output.talk()
        for label, text in essentials(found, told.json(), quote):
            console.print(f"{label:<11} {text}", markup=label == "Verdict", soft_wrap=True)
        if told.rows:
            if not console.is_terminal:
                console.width = output.WIDE
            console.print(offer_table(told.rows, with_model=told.fit is not None, brief=True))

    return show


def _catalogue(world: World) -> Catalogue | None:
    """Prices, read for the first time where they never were; what is missing then is told by SkyPilot's."""
    from llm_atc.errors import CloudError

    try:
        return world.catalog.kept() or world.catalog.read()
    except CloudError:
        return None
