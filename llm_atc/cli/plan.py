"""`llm-atc plan`: everything that `serve` would do, and whether it would start; nothing is launched."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, Invocation
from llm_atc.cli.request import NOTHING_TYPED, Typed, ask, settled, takes_request, with_model

if TYPE_CHECKING:
    from llm_atc.outlook import Outlook
    from llm_atc.plan.market import Row
    from llm_atc.plan.outlook_facts import Told
    from llm_atc.plan.preflight import Finding
    from llm_atc.plan.request import Request
    from llm_atc.ports import World

OFFERS = 5
STYLES = {"ok": "green", "warning": "yellow", "refused": "red", "unknown": "dim", "broken": "red"}
BY_HAND = "Nothing ends it but llm-atc stop."


@takes_request
def plan(
    context: typer.Context,
    positional: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model: the same as --name.", show_default=False),
    ] = None,
    typed: Typed = NOTHING_TYPED,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the task that serve would launch, after the rest.")
    ] = False,
    bandwidth: Annotated[
        float, typer.Option("--bandwidth", min=0.001, help="Gigabits a second, for the download's time.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Tell whether a model would start, how, where and for how much, and launch nothing.

    Takes everything that serve takes. Exit code 1 when it would not start.
    """
    from llm_atc.cli import output
    from llm_atc.cli.serve import open_world, text_of
    from llm_atc.outlook import look

    invocation = context.obj if isinstance(context.obj, Invocation) else Invocation()
    request = ask(with_model(typed, positional), invocation.engine_args).request
    world = open_world()
    found = look(world, request, ask=False)
    told = _told(world, request, found, bandwidth)
    if as_json:
        text = text_of(found.plan) if as_yaml and found.plan else None
        output.print_json({**told.json(), **({"task": text} if as_yaml else {})})
    else:
        _show(told, found)
        if as_yaml and found.plan:
            sys.stdout.write(text_of(found.plan))
    if not found.starts:
        raise typer.Exit(1)


def _told(world: World, request: Request, found: Outlook, bandwidth: float) -> Told:
    from llm_atc.plan.outlook_facts import Told

    catalogue = world.catalog.kept() if not request.place.local else None
    return Told(
        plan=found.plan,
        findings=found.findings,
        facts=found.facts,
        fit=found.fit,
        known=world.known(found.plan.engine) if found.plan else None,
        settled=settled(),
        rows=_rows(world, request, found),
        prices_age=catalogue.age(world.clock.now()) if catalogue else None,
        bandwidth=bandwidth,
        stops=BY_HAND if found.plan is None or request.place.local else str(found.plan.ending),
    )


def _rows(world: World, request: Request, found: Outlook) -> tuple[Row, ...]:
    """The cheapest machines that the plan may get, from the prices that were read last."""
    from llm_atc.plan.market import rows
    from llm_atc.plan.offers import Terms

    if request.place.local or found.plan is None or not found.plan.accelerators:
        return ()
    catalogue = world.catalog.kept()
    if catalogue is None:
        return ()
    terms = Terms(
        place=request.place,
        accelerators=found.plan.accelerators,
        max_price=request.max_price,
        spot=request.spot,
        clouds=catalogue.clouds,
    )
    return rows(catalogue.offers, terms)[:OFFERS]


def _show(told: Told, found: Outlook) -> None:
    from llm_atc.cli import output

    console = output.data()
    facts = told.json()
    verdict = "[bold green]will start[/]" if found.starts else "[bold red]will not start[/]"
    console.print(f"{'Verdict':<11} {verdict}")
    for label, value in _lines(facts):
        console.print(f"{label:<11} {value}", markup=False, soft_wrap=True)
    show_findings(told.findings)


def _lines(facts: dict[str, object]) -> list[tuple[str, str]]:
    """What is told of each thing, one line each; nothing of what is not known."""
    from llm_atc.cli.plan_lines import lines

    return lines(facts)


def show_findings(findings: tuple[Finding, ...]) -> None:
    """A line for each check, and one for what mends it."""
    from rich.markup import escape
    from rich.table import Table

    from llm_atc.cli import output

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("CHECK", "VERDICT", "WHAT", "TRY"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        style = STYLES[one.grade]
        table.add_row(one.check, f"[{style}]{one.grade}[/]", escape(one.says), escape(one.cure or ""))
    output.data().print(table)
