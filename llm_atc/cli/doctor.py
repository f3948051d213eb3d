"""`llm-atc doctor`: what is broken in the set-up, or in one deployment, and what mends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from llm_atc.cli.options import AsJson


def doctor(
    name: Annotated[
        str | None,
        typer.Argument(help="A deployment; the whole set-up when left out.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is broken, in the set-up or in one deployment, each with the command that mends it.

    Exit code 1 when something is.
    """
    from llm_atc import doctor as doctors
    from llm_atc.bootstrap import set_up_checks, world
    from llm_atc.cli import output
    from llm_atc.cli.plan import show_findings
    from llm_atc.plan.preflight import Grade
    from llm_atc.settings import Settings

    settings = Settings.read(os.environ)
    if name is None:
        found = doctors.examined(set_up_checks(settings))
    else:
        found = doctors.of_deployment(world(settings), name)
    if as_json:
        output.print_json(
            [
                {"check": one.check, "verdict": str(one.grade), "says": one.says, "cure": one.cure}
                for one in found
            ]
        )
    else:
        show_findings(found)
    if any(one.grade is Grade.BROKEN for one in found):
        raise typer.Exit(1)
