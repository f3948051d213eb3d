"""`llm-atc timeline`: how long each stage of a launch took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.options import AsJson
from llm_atc.cli.serve import open_world

if TYPE_CHECKING:
    from llm_atc.plan.progress import Stage
    from llm_atc.plan.timeline import Launch

BAR = 30


def timeline(
    name: Annotated[
        str, typer.Argument(help="The deployment, also one that was removed.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Show how long each stage of the last launch took, and how long it usually takes."""
    from llm_atc.cli import output
    from llm_atc.errors import DeploymentNotFound
    from llm_atc.plan.timeline import usual

    launches = open_world().store.launches()
    of_name = [one for one in launches if one.name == name]
    if not of_name:
        raise DeploymentNotFound(
            f"No launch of {name!r} is remembered.",
            hint="llm-atc status   (only launches that are waited for)",
        )
    last = of_name[-1]
    like = [one for one in launches if one.likeness == last.likeness and one.begun < last.begun]
    if as_json:
        output.print_json(facts(last, usual(like), len(of_name)))
    else:
        _show(last, usual(like))


def facts(launch: Launch, medians: Mapping[Stage, float], launches: int) -> dict[str, Any]:
    """As `--json` prints it: seconds; `usual` is null for a stage that no earlier launch like it had."""
    return {
        "name": launch.name,
        "begun": launch.begun,
        "ready": launch.ready,
        "seconds": round(launch.seconds, 3),
        "launches": launches,
        "stages": [
            {
                "stage": str(span.stage),
                "seconds": round(span.seconds, 3),
                "usual": round(medians[span.stage], 3) if span.stage in medians else None,
            }
            for span in launch.spans
        ],
    }


def _show(launch: Launch, medians: Mapping[Stage, float]) -> None:
    from datetime import datetime

    from rich.table import Table

    from llm_atc.cli import output

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("STAGE", "SECONDS", "USUALLY", ""):
        table.add_column(heading, justify="left" if heading in ("STAGE", "") else "right")
    for span in launch.spans:
        usually = f"{medians[span.stage]:.1f}" if span.stage in medians else ""
        bar = "█" * round(BAR * span.seconds / launch.seconds) if launch.seconds else ""
        table.add_row(str(span.stage), f"{span.seconds:.1f}", usually, bar)
    end = "answered" if launch.ready else "failed"
    table.add_row(end, f"{launch.seconds:.1f}", f"{sum(medians.values()):.1f}" if medians else "", "")
    begun = datetime.fromtimestamp(launch.begun).astimezone()
    output.data().print(f"{launch.name}, launched {begun:%Y-%m-%d %H:%M:%S}", markup=False)
    output.data().print(table)
