"""What the keeper runs beside an engine that is ready: the program that fills the cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keeper_fixtures import PACKAGE, Job, alive

BESIDE = """
import os, sys, time
assert "VLLM_API_KEY" not in os.environ
open({mark!r}, "a").write(sys.argv[1] + str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path)
    yield made
    made.close()


def test_it_begins_once_the_engine_is_ready_and_ends_with_the_job(job: Job) -> None:
    mark = job.folder / "ran"
    (job.folder / "beside.py").write_text(BESIDE.format(mark=str(mark)))
    job.prefix = ("env", f"PYTHONPATH={PACKAGE}{os.pathsep}{job.folder}")
    job.mood("crash")
    job.start(once_ready="beside")  # type: ignore[arg-type]  (a flag like those of the pace)
    job.until(lambda: len(job.engines()) > 1)
    assert not mark.exists(), "the engine was never ready"
    job.mood("serve")
    job.until(lambda: mark.exists() and mark.read_text() != "")
    assert mark.read_text().startswith("put")
    job.signal(signal.SIGTERM)
    assert job.ends() == 143
    assert not alive(int(mark.read_text().removeprefix("put")))
