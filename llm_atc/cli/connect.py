"""`llm-atc connect`: a way to an endpoint that has no open port."""

from __future__ import annotations

from typing import Annotated

import typer

from llm_atc.cli.options import Name
from llm_atc.cli.serve import open_world


def connect(
    name: Name,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1024, max=65535, help="The port here: the endpoint's, or the next free."),
    ] = None,
    new_host_key: Annotated[
        bool, typer.Option("--new-host-key", help="Trust the machine that answers, though it is another.")
    ] = False,
) -> None:
    """Keep an SSH tunnel to a deployment open until Ctrl-C; it comes back when it breaks.

    It does not keep an idle machine from stopping.
    """
    from llm_atc import launcher, reaching
    from llm_atc.cli.progress import Progress

    world = open_world()
    plan = launcher.find(world, name).plan
    if new_host_key:
        world.tunnels.forget(name)
    try:
        reaching.connect(world, plan, Progress(), port=port)
    except KeyboardInterrupt:
        typer.echo(f"· {name} is no longer connected.", err=True)
