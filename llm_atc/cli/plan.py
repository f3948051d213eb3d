"""`llm-atc plan`: everything that `serve` would do, and whether it would start; nothing is launched."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, finite, invocation_of
from llm_atc.cli.request import NOTHING_TYPED, Typed, ask, takes_request, with_model

if TYPE_CHECKING:
    from llm_atc.outlook import Outlook
    from llm_atc.plan.outlook_facts import Told
    from llm_atc.plan.preflight import Finding

STYLES = {"ok": "green", "warning": "yellow", "refused": "red", "unknown": "dim", "broken": "red"}


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
        float,
        typer.Option(
            "--bandwidth", min=0.001, callback=finite, help="Gigabits a second, for the download's time."
        ),
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Tell whether a model would start, how, where and for how much, and launch nothing.

    Takes everything that serve takes. Exit code 1 when it would not start.
    """
    from llm_atc.cli import output
    from llm_atc.cli.foretold import tell
    from llm_atc.cli.serve import open_world, text_of
    from llm_atc.outlook import look

    invocation = invocation_of(context)
    request = ask(with_model(typed, positional), invocation.engine_args).request
    world = open_world()
    found = look(world, request, ask=False)
    told = tell(world, request, found, bandwidth)
    if as_json:
        text = text_of(world, found.plan) if as_yaml and found.plan else None
        output.print_json({**told.json(), **({"task": text} if as_yaml else {})})
    else:
        _show(told, found)
        if as_yaml and found.plan:
            sys.stdout.write(text_of(world, found.plan))
    if not found.starts:
        raise typer.Exit(1)


def _show(told: Told, found: Outlook) -> None:
    from llm_atc.cli import output
    from llm_atc.cli.offer_table import offer_table
    from llm_atc.cli.plan_lines import lines, verdict

    for label, text in (verdict(found), *lines(told.json())):
        output.data().print(f"{label:<11} {text}", markup=label == "Verdict", soft_wrap=True)
    if told.rows:
        output.data().print(offer_table(told.rows, with_model=told.fit is not None))
    show_findings(told.findings)


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
