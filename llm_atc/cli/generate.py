"""`llm-atc generate`: many requests from a file, to one endpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_atc.cli.options import AsJson, Yes, finite, invocation_of

if TYPE_CHECKING:
    from llm_atc.batch.asking import Endpoint
    from llm_atc.batch.job import Job, Tally
    from llm_atc.launcher import Endpoint as Found

Again = Callable[..., str]

KEY_VARIABLE = "OPENAI_API_KEY"
SECONDS_A_LINE = 10.0

Option = typer.Option
Penalty = Annotated[float | None, Option(min=-2, max=2, callback=finite, help="For requests that name none.")]


def generate(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="A deployment, or any endpoint.", show_default=False)
    ],
    source: Annotated[
        Path, Option("--input", "-i", help="Requests, one a line; - is stdin.", show_default=False)
    ],
    output: Annotated[
        Path, Option("--output", "-o", help="Answers, one a line, added; - is stdout.", show_default=False)
    ],
    concurrency: Annotated[int, Option(min=1, max=4096, help="Requests at a time.")] = 16,
    retries: Annotated[int, Option(min=0, help="How often a request is asked again.")] = 5,
    timeout: Annotated[float, Option(min=1, callback=finite, help="Seconds for one answer.")] = 600,
    retry_failed: Annotated[
        bool, Option("--retry-failed", help="Ask once more for the lines whose answer is an error.")
    ] = False,
    model: Annotated[str | None, Option(help="For requests that name none.")] = None,
    system: Annotated[str | None, Option(help="A system message, for chats that have none.")] = None,
    temperature: Annotated[
        float | None,
        Option(min=0, max=2, callback=finite, help="For requests that name none, as those below."),
    ] = None,
    max_tokens: Annotated[int | None, Option(min=1, help="For requests that name none.")] = None,
    top_p: Annotated[
        float | None, Option(min=0, max=1, callback=finite, help="For requests that name none.")
    ] = None,
    top_k: Annotated[int | None, Option(min=-1, help="For requests that name none.")] = None,
    presence_penalty: Penalty = None,
    frequency_penalty: Penalty = None,
    serve: Annotated[
        bool, Option("--serve", help="Serve the model of that name here, for as long as this runs.")
    ] = False,
    yes: Yes = False,
    api_key: Annotated[
        str | None,
        Option(metavar="NAME", help=f"The variable that holds a URL's key; {KEY_VARIABLE} if it is set."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint every request of a file, and write each answer to another.

    Run it again after an interruption: what is answered is not asked again.
    """
    from llm_atc.batch.job import Job
    from llm_atc.batch.lines import Defaults

    parameters = {
        "temperature": temperature,
        "max_tokens": max_tokens,
        "top_p": top_p,
        "top_k": top_k,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
    }
    source, output = _not_the_same(source, output)
    defaults = Defaults(
        model=model,
        system=system,
        parameters={name: value for name, value in parameters.items() if value is not None},
    )
    job = Job(
        input=None if str(source) == "-" else source,
        output=None if str(output) == "-" else output,
        defaults=defaults,
        concurrency=concurrency,
        retries=retries,
        retry_failed=retry_failed,
    )
    again = invocation_of(context).again
    with ExitStack() as ends:
        if serve:
            endpoint, served = ends.enter_context(_served(target, timeout, yes=yes))
        else:
            endpoint, served = _endpoint(target, api_key, timeout)
        named = replace(job, defaults=replace(defaults, model=model or served))
        tally = _run(named, endpoint, again)
    _tell(named, tally, again, as_json=as_json)


def _not_the_same(source: Path, output: Path) -> tuple[Path, Path]:
    from llm_atc.errors import UsageError

    if str(source) != "-" and output.exists() and source.exists() and source.samefile(output):
        raise UsageError("--input and --output are the same file.", hint="--output out.jsonl")
    return source, output


def _endpoint(target: str, variable: str | None, timeout: float) -> tuple[Endpoint, str | None]:
    """Where to ask with which key, and the model's name when a deployment tells it."""
    import httpx

    from llm_atc.access import Secret
    from llm_atc.batch.asking import Endpoint
    from llm_atc.errors import UsageError

    if not target.startswith(("http://", "https://")):
        from llm_atc import launcher
        from llm_atc.cli.serve import open_world

        if variable is not None:
            raise UsageError(f"--api-key is for a URL: {target} has its own.", hint="leave --api-key away")
        found = launcher.endpoint(open_world(), target)
        return _of(found, timeout), found.model
    if variable is not None and not os.environ.get(variable):
        raise UsageError(
            "--api-key names a variable that holds the key, and the environment has none of that name.",
            hint=f"export NAME=…, and --api-key NAME   (or: export {KEY_VARIABLE}=…)",
        )
    value = os.environ.get(variable or KEY_VARIABLE)
    url = target.rstrip("/").removesuffix("/v1")
    try:
        well_formed = bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        well_formed = False
    if not well_formed:
        raise UsageError(f"{target!r} is no address.", hint="http://127.0.0.1:8000")
    return Endpoint(url=url, key=Secret(value) if value else None, timeout=timeout), None


def _of(found: Found, timeout: float) -> Endpoint:
    from llm_atc.batch.asking import Endpoint

    return Endpoint(url=found.url, key=found.key, timeout=timeout, certificate=found.certificate)


@contextmanager
def _served(model: str, timeout: float, *, yes: bool) -> Iterator[tuple[Endpoint, str | None]]:
    """The model, served here for as long as this takes."""
    from llm_atc.cli.request import Typed, ask
    from llm_atc.cli.serve import open_world
    from llm_atc.cli.serving import served

    request = ask(Typed(values={"model.name": model}), cloud="local").request
    with served(open_world(), request, yes=yes) as found:
        yield _of(found, timeout), found.model


def _run(job: Job, endpoint: Endpoint, again: Again) -> Tally:
    from llm_atc.batch import job as batch
    from llm_atc.errors import Interrupted

    try:
        with _shown() as tell:
            return batch.run(job, endpoint, tell)
    except KeyboardInterrupt as error:
        kept = "" if job.output is None else f" What is answered stands in {job.output}."
        raise Interrupted(f"Interrupted.{kept}", hint=None if job.output is None else again()) from error


def _tell(job: Job, tally: Tally, again: Again, *, as_json: bool) -> None:
    from llm_atc.cli import output
    from llm_atc.errors import BatchError

    talk = output.talk()
    if tally.others:
        talk.print(f"· {tally.others} answers in {job.output} belong to no line of the input.", markup=False)
    every = tally.answered + tally.before
    if as_json and job.output is not None:
        facts = {"answered": tally.answered, "before": tally.before, "failed": tally.failed}
        output.print_json({"output": str(job.output), "lines": every, **facts})
    before = f", {tally.before} of them before" if tally.before else ""
    talk.print(f"{every} lines are answered{before}.", markup=False)
    if tally.failed:
        raise BatchError(
            f"{tally.failed} of {every} lines failed.",
            hint=None if job.output is None else again("--retry-failed"),
        )


@contextmanager
def _shown() -> Iterator[Callable[[Tally], None]]:
    """Progress on stderr: a bar at a terminal, a line every ten seconds elsewhere."""
    from llm_atc.cli.output import talk

    console = talk()
    if not console.is_terminal:
        yield _lines(console)
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    rate = _rate()
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Generating", total=None, rate="")

        def tell(tally: Tally) -> None:
            failed = f", {tally.failed} failed" if tally.failed else ""
            done = tally.answered + tally.before
            bar.update(task, completed=done, total=tally.total, rate=f"{rate(tally)[0]:.1f}/s{failed}")

        yield tell


def _lines(console: Any) -> Callable[[Tally], None]:
    rate = _rate()
    told = time.monotonic()

    def tell(tally: Tally) -> None:
        nonlocal told
        speed, left = rate(tally)
        if time.monotonic() - told < SECONDS_A_LINE:
            return
        told = time.monotonic()
        of = f" of {tally.total}" if tally.total is not None else ""
        eta = f", {left:.0f} s left" if left is not None else ""
        failed = f", {tally.failed} failed" if tally.failed else ""
        done = tally.answered + tally.before
        console.print(f"{done}{of} lines answered{failed}; {speed:.1f} a second{eta}", markup=False)

    return tell


def _rate() -> Callable[[Tally], tuple[float, float | None]]:
    """A function of the tally: answers a second since the start, and the seconds that are left."""
    begun = time.monotonic()

    def rate(tally: Tally) -> tuple[float, float | None]:
        speed = tally.answered / max(time.monotonic() - begun, 1e-9)
        if tally.total is None or not speed:
            return speed, None
        return speed, (tally.total - tally.answered - tally.before) / speed

    return rate
