"""The keeper as a real process: a real relay before small engines that crash, hang, are killed and idle."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_atc.keeper.meter import machine_start
from tests.keeper_fixtures import ENGINE, KEY, Job, alive, extend, soon


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path)
    yield made
    made.close()
    assert soon(lambda: not any(alive(pid) for pid in made.engines())), "an engine outlived its keeper"


# What it is for.


def test_the_relay_stands_before_the_engine_and_alone_holds_the_key(job: Job) -> None:
    job.start()
    job.ready()
    code, answer = job.complete()
    assert (code, answer["choices"][0]["text"]) == (200, "Cleared.")
    assert "HF_TOKEN" in answer["seen"]
    assert "VLLM_API_KEY" not in answer["seen"]
    assert "PYTHONPATH" not in answer["seen"]
    assert KEY not in Path(f"/proc/{job.relay()}/cmdline").read_text()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    assert "the job never ends by itself" in job.said()


def test_relay_arguments_reach_the_relay(job: Job) -> None:
    job.start(variables={"RELAY_ARGS": json.dumps(["--body-bytes", "8"])})
    job.ready()
    assert job.complete()[0] == 413


def test_keys_may_have_empty_words_between_them(job: Job) -> None:
    job.start(variables={"VLLM_API_KEY": f" ,, {KEY},"})
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready", 10)


def test_being_told_to_end_ends_both(job: Job) -> None:
    job.start()
    job.ready()
    job.signal(signal.SIGTERM)
    assert job.ends() == 143
    assert not alive(job.engines()[0])


def test_a_killed_keeper_leaves_nothing_running(job: Job) -> None:
    job.start()
    job.ready()
    relay = job.relay()
    job.signal(signal.SIGKILL)
    assert job.ends() == -9
    assert soon(lambda: not alive(relay) and not alive(job.engines()[0]))


# What goes wrong.


def test_an_engine_that_never_starts_ends_the_job_with_its_own_words(job: Job) -> None:
    job.mood("crash")
    job.start()
    assert job.ends() == 1
    assert len(job.engines()) == 3
    said = job.said()
    assert said.count("RuntimeError: No available memory for the cache blocks") == 3
    assert "the engine ended with code 3 (failed start 1 of 3): it is started again in 0 seconds" in said
    assert "The engine failed to start 3 times in a row. The job ends" in said


def test_an_engine_that_cannot_be_run_ends_the_job(job: Job) -> None:
    job.start(engine=("/no/such/engine",))
    assert job.ends() == 1
    assert "The engine cannot be started" in job.said()


def test_an_engine_that_does_not_get_ready_in_time_ends_the_job(job: Job) -> None:
    job.start(engine=("/bin/sleep", "600"), start=1)
    assert job.ends() == 1
    assert "The engine was not ready within 1 seconds." in job.said()


def test_an_engine_that_dies_later_is_started_again(job: Job) -> None:
    job.start()
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    os.kill(job.engines()[0], signal.SIGKILL)
    job.until(lambda: len(job.engines()) == 2 and job.complete()[0] == 200)
    assert "the engine was killed from outside, as the system does when memory runs out" in job.said()
    job.until(lambda: job.status()["keeper"]["starts"] == 2)


def test_an_engine_that_dies_and_then_cannot_start_again_ends_the_job(job: Job) -> None:
    job.start()
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    job.mood("crash")
    os.kill(job.engines()[0], signal.SIGTERM)
    assert job.ends() == 1
    assert len(job.engines()) == 4


def test_an_engine_that_hangs_is_killed_and_started_again(job: Job) -> None:
    job.start()
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    os.kill(job.engines()[0], signal.SIGSTOP)
    job.until(lambda: len(job.engines()) == 2 and job.complete()[0] == 200)
    assert not alive(job.engines()[0])
    assert "the engine answered nothing for 4 seconds, and was killed" in job.said()


def test_an_engine_that_is_healthy_and_generates_no_more_is_killed_and_at_last_given_up(job: Job) -> None:
    job.start(hang=60, unready=2, start=15)
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    job.mood("ill")
    job.until(lambda: not job.status()["ready"])
    job.mood("mute")
    assert job.ends(40) == 1
    assert len(job.engines()) == 2
    said = job.said()
    assert "the engine generated nothing for 2 seconds, and was killed: it is started again" in said
    assert "The engine was not ready within 15 seconds." in said


def test_a_relay_that_hangs_is_killed_and_started_again(job: Job) -> None:
    job.start()
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    before = job.relay()
    os.kill(before, signal.SIGSTOP)
    job.until(lambda: not alive(before) and job.complete()[0] == 200)
    assert len(job.engines()) == 1
    assert "the relay answered nothing for 4 seconds, and was killed: it is started again" in job.said()


FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture
def frozen_engine(job: Job) -> Iterator[Callable[[], None]]:
    """Freezes a job's engine: like one that waits for a driver, no signal ends it."""
    if os.geteuid() != 0 or not FREEZER.is_dir():
        pytest.skip("a process that cannot be killed needs root and control groups of version 1")
    group = FREEZER / f"llm-atc-{os.getpid()}"
    group.mkdir()

    def freeze() -> None:
        (group / "cgroup.procs").write_text(str(job.engines()[0]))
        (group / "freezer.state").write_text("FROZEN")

    yield freeze
    (group / "freezer.state").write_text("THAWED")
    job.close()
    assert soon(lambda: not (group / "cgroup.procs").read_text().strip())
    group.rmdir()


def test_an_engine_that_hangs_and_cannot_be_killed_ends_the_job(
    job: Job, frozen_engine: Callable[[], None]
) -> None:
    job.start()
    job.ready()
    job.until(lambda: job.status()["keeper"]["engine"] == "ready")
    frozen_engine()
    assert job.ends() == 1
    assert "The engine answered nothing for 4 seconds, and cannot be killed. The job ends" in job.said()
    assert "the engine cannot be killed, and is left behind" in job.said()
    assert len(job.engines()) == 1


def test_an_engine_that_cannot_be_killed_does_not_keep_a_job_from_ending(
    job: Job, frozen_engine: Callable[[], None]
) -> None:
    job.start(hang=60)
    job.ready()
    frozen_engine()
    job.signal(signal.SIGTERM)
    assert job.ends() == 143
    assert "the engine cannot be killed, and is left behind" in job.said()


def test_a_killed_relay_is_started_again(job: Job) -> None:
    job.start()
    job.ready()
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = job.relay()
        os.kill(before, number)
        job.until(lambda before=before: not alive(before) and job.complete()[0] == 200)
    assert len(job.engines()) == 1
    assert "the relay was killed from outside" in job.said()


def test_a_relay_that_cannot_run_ends_the_job(job: Job) -> None:
    job.start(variables={"RELAY_ARGS": '["--no-such-option"]'})
    assert job.ends() == 1
    assert "The relay ended at once, or answered nothing, 5 times in a row." in job.said()


MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group of the kernel with 200 MB."""
    if os.geteuid() != 0 or not MEMORY.is_dir():
        pytest.skip("a limit on memory needs root and control groups of version 1")
    group = MEMORY / f"llm-atc-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(200 * 2**20))
    yield group
    deadline = time.monotonic() + 10
    while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.05)
    group.rmdir()


def test_an_engine_that_runs_out_of_memory_is_told_by_that_name(job: Job, little_memory: Path) -> None:
    job.mood("eat")
    inside = f'echo $$ > {little_memory}/cgroup.procs; exec "$@"'
    job.start(engine=("/bin/sh", "-c", inside, "sh", sys.executable, str(ENGINE), str(job.engine_port)))
    assert job.ends(60) == 1
    assert "the engine was killed by the system, because memory ran out (code -9)" in job.said()


def test_a_full_disk_ends_the_job_with_the_engines_words_and_breaks_nothing_else(job: Job) -> None:
    if os.geteuid() != 0:
        pytest.skip("a disk of its own needs root")
    disk = job.folder / "disk"
    disk.mkdir()
    fill = (
        f"mount -t tmpfs -o size=64k tmpfs {disk}; mkdir {disk}/state; head -c 1M /dev/zero > {disk}/full; "
    )
    job.prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", fill + 'exec "$@"', "sh")
    (job.folder / "state").symlink_to(disk / "state")
    job.start(variables={"FULL": str(disk), "DOLLARS_AN_HOUR": "1"})
    job.ready()  # neither ledger nor status can be written
    job.until(lambda: "the engine is ready" in job.said())
    assert job.complete()[0] == 200
    job.mood("write")
    os.kill(job.engines()[0], signal.SIGKILL)
    assert job.ends() == 1
    assert job.said().count("OSError: [Errno 28] No space left on device") == 3


# When it ends by itself.


def test_nobody_asking_for_long_enough_ends_the_job(job: Job) -> None:
    job.start(variables={"IDLE_MINUTES": "0.1"})
    job.ready()
    for _ in range(8):  # looks are no use
        for path in ("/health", "/relay/status", "/relay/metrics", "/v1/models", "/metrics"):
            job.get(path)
        time.sleep(0.1)
    began = time.monotonic()
    assert job.complete()[0] == 200
    assert job.ends() == 0
    assert time.monotonic() - began >= 6
    said = job.said()
    assert "the job ends after 6 seconds without a request" in said
    assert "warning: ends in 1 seconds: nobody has asked for" in said
    assert "Nobody has asked for 6 seconds. The job ends, and the machine after it." in said


def test_a_connection_that_stays_open_does_not_begin_the_idle_minutes_anew(job: Job) -> None:
    job.start(variables={"IDLE_MINUTES": "0.05"})
    job.ready()
    with socket.create_connection(("127.0.0.1", job.port)) as lingering:
        lingering.sendall(b"GET /health HTTP/1.1\r\nhost: here\r\n\r\n")
        assert lingering.recv(4096).startswith(b"HTTP/1.1 200")
        assert job.ends(20) == 0
    assert "Nobody has asked for 3 seconds. The job ends" in job.said()
    assert "it is started again" not in job.said()


def test_an_open_stream_is_use(job: Job) -> None:
    job.start(variables={"IDLE_MINUTES": "0.05"})
    job.ready()
    answers: list[tuple[int, Any]] = []
    stream = threading.Thread(target=lambda: answers.append(job.complete(stream=True, seconds=7)))
    stream.start()
    stream.join()
    assert [(code, text[-14:]) for code, text in answers] == [(200, b"data: [DONE]\n\n")]
    assert job.running()
    assert job.ends() == 0


def test_the_engines_start_is_no_idleness(job: Job) -> None:
    inside = 'sleep 6; exec "$@"'
    job.start(
        engine=("/bin/sh", "-c", inside, "sh", sys.executable, str(ENGINE), str(job.engine_port)),
        variables={"IDLE_MINUTES": "0.05"},
    )
    job.ready()
    assert job.ends() == 0


def ttl(seconds_from_now: float) -> str:
    """A TTL_SECONDS, which count from this machine's start, that is over then."""
    return str(time.time() - machine_start() + seconds_from_now)


def test_the_time_being_over_ends_the_job_also_while_it_is_used(job: Job) -> None:
    job.start(variables={"TTL_SECONDS": ttl(6)})
    job.ready()
    job.until(lambda: job.status()["keeper"]["warning"] is not None)
    assert "ends in" in job.status()["keeper"]["warning"]
    assert job.ends() == 0
    assert "warning: ends in" in job.said()
    assert "are over (--ttl). The job ends" in job.said()


def test_the_budget_being_spent_ends_the_job_and_a_later_one_at_once(job: Job) -> None:
    variables = {"DOLLARS_AN_HOUR": "3600", "BUDGET_DOLLARS": str(time.time() - machine_start() + 6)}
    job.start(variables=variables)
    job.ready()
    assert job.status()["keeper"]["dollars"] > 0
    assert job.ends() == 0
    assert "is spent (--budget). The job ends" in job.said()
    job.start(variables=variables)
    assert job.ends(10) == 0


def test_what_earlier_starts_of_the_machine_cost_counts_too(job: Job) -> None:
    (job.folder / "state").mkdir()
    ledger = {"boot": 1_000_000.0, "before": 2.0, "this": 3.0}
    (job.folder / "state" / "ledger.json").write_text(json.dumps(ledger))
    job.start(variables={"DOLLARS_AN_HOUR": "0.0001", "BUDGET_DOLLARS": "5"})
    assert job.ends(10) == 0
    assert "its budget of $5.00 is spent" in job.said().lower()


def test_a_damaged_ledger_is_told_of(job: Job) -> None:
    (job.folder / "state").mkdir()
    (job.folder / "state" / "ledger.json").write_text("")
    job.start(variables={"DOLLARS_AN_HOUR": "0.0001", "BUDGET_DOLLARS": "5"})
    job.until(lambda: "what earlier starts of this machine cost cannot be read" in job.said())


def test_an_extension_holds_from_the_next_look_on(job: Job) -> None:
    (job.folder / ".llm-atc").mkdir()
    (job.folder / ".llm-atc" / "keeper").symlink_to(job.folder / "state")
    job.start(variables={"TTL_SECONDS": ttl(8)})
    job.ready()
    extend(job.folder, TTL_SECONDS=ttl(3600))
    job.until(lambda: job.status()["keeper"]["seconds_left"] > 3000)
    assert job.status()["keeper"]["warning"] is None


def test_a_budget_without_a_price_is_warned_of(job: Job) -> None:
    job.start(variables={"BUDGET_DOLLARS": "1"})
    job.ready()
    assert "the machine's price is not known, so its budget is not kept" in job.said()
