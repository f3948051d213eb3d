"""A batch from the first line to the last: readable from the top."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from llm_atc.batch.answers import Answers, opened
from llm_atc.batch.asking import Asker, Endpoint
from llm_atc.batch.feed import Feed
from llm_atc.batch.lines import BatchRequest, Defaults, read_requests
from llm_atc.errors import BatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done. No path means stdin and stdout; without a model the endpoint's own is asked for."""

    input: Path | None
    output: Path | None
    defaults: Defaults
    concurrency: int = 16
    retries: int = 5
    retry_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far it is: `answered` lines of now, `before` of earlier runs, `failed` of both; `total` when known.

    `others` are answers in the output that belong to no line of the input.
    """

    answered: int = 0
    before: int = 0
    failed: int = 0
    total: int | None = None
    others: int = 0


Tell = Callable[[Tally], None]


def run(job: Job, endpoint: Endpoint, tell: Tell) -> Tally:
    """Ask for every line that has no answer yet, and write each answer as it comes.

    Raises BatchError for an input, an output or an endpoint that cannot be used; what was answered until then
    stays written, and the next run goes on from there.
    """
    if job.input is not None and not job.input.exists():
        raise BatchError(f"There is no file {job.input}.", hint=f"ls {job.input.absolute().parent}")
    with opened(job.output, retry_failed=job.retry_failed) as answers:
        return asyncio.run(_run(job, endpoint, answers, tell))


async def _run(job: Job, endpoint: Endpoint, answers: Answers, tell: Tell) -> Tally:
    tally = _counted(job, answers)
    async with endpoint.client(job.concurrency) as client:
        asker = Asker(client, retries=job.retries)
        served = await asker.models()
        defaults = job.defaults if job.defaults.model else replace(job.defaults, model=_only(served))
        tell(tally)
        # The reading thread looks into `done` while answers are added: those are of lines it is past.
        feed = Feed(_missing(job.input, defaults, answers.done), ahead=job.concurrency)
        try:
            return await _answer_all(asker, feed, answers, tally, job.concurrency, tell)
        finally:
            feed.close()


def _counted(job: Job, answers: Answers) -> Tally:
    """How much there is to do. A file is read to its end here, so that what is wrong in it costs nothing."""
    before, failed = len(answers.done), len(answers.failed)
    if job.input is None or not job.input.is_file():
        return Tally(before=before, failed=failed)
    total = known = 0
    for request in _requests(job.input, job.defaults):
        total += 1
        known += request.custom_id in answers.done
    return Tally(before=known, failed=failed, total=total, others=before - known)


def _missing(path: Path | None, defaults: Defaults, done: set[str]) -> Iterator[BatchRequest]:
    return (request for request in _requests(path, defaults) if request.custom_id not in done)


def _requests(path: Path | None, defaults: Defaults) -> Iterator[BatchRequest]:
    with _input(path) as lines:
        yield from read_requests(lines, defaults)


def _input(path: Path | None) -> BinaryIO:
    # stdin by a reader of our own: Python cannot end while a thread waits in its sys.stdin.
    try:
        return path.open("rb") if path is not None else os.fdopen(os.dup(0), "rb")
    except OSError as error:
        raise BatchError(f"{path} cannot be read: {error.strerror}.", hint=f"ls -la {path}") from error


def _only(served: tuple[str, ...]) -> str:
    if len(served) == 1:
        return served[0]
    raise BatchError(
        f"The endpoint serves {', '.join(served) or 'no model that it names'}: say which is to be asked.",
        hint=f"--model {served[0] if served else 'NAME'}",
    )


async def _answer_all(
    asker: Asker, feed: Feed, answers: Answers, tally: Tally, workers: int, tell: Tell
) -> Tally:
    answered = 0

    def now() -> Tally:
        return replace(tally, answered=answered, failed=len(answers.failed))

    async def work() -> None:
        nonlocal answered
        while (request := await feed.next()) is not None:
            answers.add(request.custom_id, await asker.ask(request))
            answered += 1
            tell(now())

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several
    return now()
