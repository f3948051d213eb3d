"""`llm-atc serve`: from a model's name to an endpoint."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, DetachRun, DetachSetup, Invocation, Timeout, Yes, asking

if TYPE_CHECKING:
    from llm_atc.access import Secret
    from llm_atc.plan.plan import Plan
    from llm_atc.plan.request import Request
    from llm_atc.ports import World

Option = typer.Option
NO_KEY = "Without a key, everybody who reaches the address can use the model at your cost. Go on?"


def serve(
    context: typer.Context,
    positional: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model: the same as --name.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        Option(
            "--name", "-n", "--model", help="OWNER/NAME on the hub, llm-atc/NAME with --source, or a path."
        ),
    ] = None,
    source: Annotated[
        str | None, Option("--source", help="Where the checkpoint lies: s3://…, gs://… or a directory.")
    ] = None,
    accelerator: Annotated[
        list[str] | None,
        Option("--accelerator", "--accelerators", help="NAME:COUNT; several in order of preference."),
    ] = None,
    cluster: Annotated[
        str | None, Option("--cluster", "-c", help="The deployment's name, which is its cluster's too.")
    ] = None,
    cloud: Annotated[str | None, Option("--cloud", help="A cloud that SkyPilot knows, or local.")] = None,
    region: Annotated[str | None, Option("--region", help="A region of that cloud.")] = None,
    zone: Annotated[str | None, Option("--zone", help="A zone of that region.")] = None,
    envs: Annotated[
        list[str] | None,
        Option("--envs", "--env", "-e", help="KEY=VAL, or KEY to take it from your environment; repeatable."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        Option("--secret", help="The same for a secret: it is never written down in the task."),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        Option(
            "--api-key", help="A key for the endpoint, or the NAME of a variable that holds it; repeatable."
        ),
    ] = None,
    no_auth: Annotated[bool, Option("--no-auth", help="Ask nobody for a key. Asks first.")] = False,
    backend: Annotated[
        str | None, Option("--backend", help="vllm or llama-cpp; by the model's format.")
    ] = None,
    spot: Annotated[
        bool, Option("--spot", help="A spot machine: cheaper, and it may be taken away.")
    ] = False,
    disk_size: Annotated[int | None, Option("--disk-size", help="The machine's disk, in GiB.")] = None,
    image: Annotated[
        str | None, Option("--image", help="An image, such as docker:vllm/vllm-openai:v0.32.0.")
    ] = None,
    num_nodes: Annotated[int, Option("--num-nodes", help="Machines for one model, through Ray.")] = 1,
    port: Annotated[
        int | None, Option("--port", help="The endpoint's port: 8000, or here the next free.")
    ] = None,
    no_setup: Annotated[bool, Option("--no-setup", "--no_setup", help="Skip the engine's set-up.")] = False,
    detach_setup: DetachSetup = False,
    detach_run: DetachRun = False,
    foreground: Annotated[
        bool, Option("--foreground", help="With --cloud local: in this terminal, until Ctrl-C.")
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the task that would be launched, and stop.")
    ] = False,
    timeout: Timeout = 3600,
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="Show every line that is said meanwhile.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Serve a model, here or in a cloud, and wait until it has answered once.

    What follows `--` goes to the engine as it is: llm-atc serve MODEL … -- --max-model-len 4096
    """
    from llm_atc.errors import UsageError
    from llm_atc.plan.engine import EngineName
    from llm_atc.plan.places import read_place
    from llm_atc.plan.request import Request, check_name, part_secrets, read_accelerators, read_pairs

    model = name or positional
    if model is None or (name is not None and positional not in (None, name)):
        raise UsageError("Say which model, once.", hint="llm-atc serve --name Qwen/Qwen3-0.6B …")
    if no_auth and api_key:
        raise UsageError("--no-auth and --api-key contradict each other.", hint="leave one away")
    if backend is not None and backend not in list(EngineName):
        raise UsageError(
            f"--backend {backend!r} is no engine.", hint="--backend vllm   or   --backend llama-cpp"
        )
    plain, moved = part_secrets(read_pairs(envs or (), os.environ, flag="--envs"))
    given = part_all_secret(read_pairs(secret or (), os.environ, flag="--secret"))
    invocation = context.obj if isinstance(context.obj, Invocation) else Invocation()
    request = Request(
        model=model,
        source=source,
        name=check_name(cluster) if cluster else None,
        place=read_place(cloud, region, zone),
        accelerators=read_accelerators(accelerator or ()),
        engine=EngineName(backend) if backend else None,
        engine_args=invocation.engine_args,
        envs=tuple(plain.items()),
        secrets=tuple((moved | given).items()),
        keys=read_keys(api_key or ()),
        auth=not no_auth,
        spot=spot,
        disk_size=disk_size,
        image=image,
        num_nodes=num_nodes,
        port=port,
        setup=not no_setup,
    )
    if moved:
        typer.echo(
            f"· {', '.join(moved)}: treated as secret, and written down nowhere in the task.", err=True
        )
    if dry_run:
        _print_task(request)
        return
    if foreground:
        if as_json or detach_run or detach_setup:
            raise UsageError("--foreground stays in this terminal: it goes with no --json and no --detach.")
        _serve_in_foreground(request, yes)
        return
    _serve(request, yes, as_json, verbose, timeout, detach_setup=detach_setup, detach_run=detach_run)


def part_all_secret(pairs: dict[str, str]) -> dict[str, Secret]:
    """Every value as a Secret, whatever its name."""
    from llm_atc.access import Secret

    return {name: Secret(value) for name, value in pairs.items()}


def read_keys(texts: tuple[str, ...] | list[str]) -> tuple[Secret, ...]:
    """API keys as given; the name of a variable in capitals that is set stands for its value."""
    from llm_atc.access import read_key

    values = [os.environ[text] if text.isupper() and text in os.environ else text for text in texts]
    return tuple(dict.fromkeys(read_key(part) for value in values for part in value.split(",")))


def open_world() -> World:
    """Every port, filled."""
    from llm_atc.bootstrap import world
    from llm_atc.settings import Settings

    return world(Settings.read(os.environ))


def _print_task(request: Request) -> None:
    from llm_atc import planning

    planned = planning.plan(open_world(), request, strict=False)
    for sentence in (*planned.warnings, *planned.plan.notes):
        typer.echo(f"· {sentence}", err=True)
    sys.stdout.write(text_of(planned.plan))


def text_of(plan: Plan) -> str:
    """What would be launched: a SkyPilot task, or the command of this machine."""
    from llm_atc.bootstrap import render
    from llm_atc.render.command import text

    return text(plan) if plan.place.local else render(plan)


def _serve_in_foreground(request: Request, yes: bool) -> None:
    from llm_atc import launcher
    from llm_atc.cli.progress import Progress
    from llm_atc.errors import UsageError

    if not request.place.local:
        raise UsageError("--foreground is for this machine.", hint="--cloud local --foreground")
    if not request.auth:
        asking(yes)(NO_KEY)
    report = Progress(verbose=True)
    launcher.serve_in_foreground(open_world(), request, report)


def _serve(
    request: Request,
    yes: bool,
    as_json: bool,
    verbose: bool,
    timeout: float,
    *,
    detach_setup: bool,
    detach_run: bool,
) -> None:
    from llm_atc import launcher
    from llm_atc.cli import output
    from llm_atc.cli.progress import Progress
    from llm_atc.launcher import Until

    ask = asking(yes)
    if not request.auth:
        ask(NO_KEY)
    until = Until.SUBMITTED if detach_setup else Until.SET_UP if detach_run else Until.READY
    world = open_world()
    with Progress(verbose=verbose) as report:
        status = launcher.serve(
            world,
            request,
            report,
            confirm=report.pausing(ask),
            order=report.pausing(asking(yes, unheard=True)),
            until=until,
            timeout=timeout,
        )
    if as_json:
        output.print_json(output.status_facts(status))
    elif until is Until.READY:
        output.print_landed(launcher.endpoint(world, status.name), local=request.place.local)
    else:
        output.print_statuses([status])
        typer.echo(f"· Watch it with: llm-atc status {status.name}", err=True)
