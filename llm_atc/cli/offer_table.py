"""What can be had where and for how much, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from llm_atc.plan.market import Row

FITTING = ("FITS", "CONTEXT", "REQUESTS")
ESTIMATE = "$/M TOKENS (ESTIMATE)"


def offer_table(rows: Iterable[Row], *, with_model: bool, brief: bool = False) -> Table:
    """A line for each machine; with the model, whether it fits there and how. Brief leaves away what a narrow
    screen has no room for."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    headings = ["ACCELERATOR", "WHERE", "MACHINE", "KIND", "$/HOUR", *(() if brief else ("$/DAY",))]
    if with_model:
        headings += [*FITTING, *(() if brief else (ESTIMATE,))]
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if "$" in heading else "left")
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _cells(row: Row) -> dict[str, str]:
    from llm_atc.cli.output import cents
    from llm_atc.plan.price import daily

    choice, verdict = row.choice, row.verdict
    fits = {None: "?", True: "[green]yes[/]", False: "[red]no[/]"}[row.fits]
    return {
        "ACCELERATOR": str(choice.offer.accelerator),
        "WHERE": choice.offer.where,
        "MACHINE": choice.offer.instance_type,
        "KIND": "spot" if choice.spot else "on demand",
        "$/HOUR": f"{choice.hourly:.2f}",
        "$/DAY": f"{daily(choice.hourly):.2f}",
        "FITS": fits,
        "CONTEXT": str(verdict.max_model_len) if verdict else "",
        "REQUESTS": str(verdict.concurrency) if verdict else "",
        ESTIMATE: cents(row.per_million),
    }
