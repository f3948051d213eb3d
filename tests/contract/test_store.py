"""The promises of a Store, kept by the database."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_atc.errors import AtcError, DeploymentBusy
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Runner
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan, make_plan
from llm_atc.plan.request import Request
from llm_atc.store.database import Database

HOLDER = """
import pathlib, sys
from llm_atc.store.database import Database
with Database(pathlib.Path(sys.argv[1])).working("demo", "serve"):
    print("held", flush=True)
    sys.stdin.read()
"""


def a_plan(name: str = "demo", **changes: object) -> Plan:
    spec = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True, bytes=1234, revision="abc")
    request = Request(
        model="Qwen/Qwen3-0.6B", name=name, place=Place(cloud="gcp"), accelerators=(Accelerator(name="L4"),)
    )
    return replace(make_plan(request, spec), **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def store(file: Path) -> Database:
    return Database(file)


@contextlib.contextmanager
def another_process(file: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds `demo` until it is ended."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_what_was_never_saved_is_not_there(store: Database) -> None:
    assert store.get("demo") is None
    assert store.all() == ()


def test_a_plan_comes_back_as_it_was(store: Database, file: Path) -> None:
    plan = a_plan()
    store.save(plan, 100.5)
    found = Database(file).get("demo")
    assert found is not None
    assert (found.name, found.plan, found.created, found.started, found.busy) == (
        "demo",
        plan,
        100.5,
        100.5,
        None,
    )


def test_a_plan_saved_again_keeps_the_time_of_its_creation(store: Database, file: Path) -> None:
    store.save(a_plan(), 100.0)
    store.save(a_plan(port=9000), 200.0)
    found = Database(file).get("demo")
    assert found is not None
    assert (found.plan.port, found.created, found.started) == (9000, 100.0, 200.0)
    assert len(Database(file).all()) == 1


def test_all_are_told_by_name(store: Database, file: Path) -> None:
    for name in ("b", "c", "a"):
        store.save(a_plan(name), 1.0)
    assert [deployment.name for deployment in Database(file).all()] == ["a", "b", "c"]


def test_forgetting_is_quiet_the_second_time(store: Database, file: Path) -> None:
    store.save(a_plan(), 1.0)
    store.forget("demo")
    store.forget("demo")
    assert Database(file).get("demo") is None


def test_another_process_reads_what_this_one_saved(store: Database, file: Path) -> None:
    store.save(a_plan(), 1.0)
    assert Database(file).get("demo") == store.get("demo")


texts = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arguments=st.lists(texts).map(tuple),
    envs=st.lists(st.tuples(texts, texts)).map(tuple),
    format=st.sampled_from(Format),
    runner=st.sampled_from(Runner),
    gguf=st.none() | texts,
)
def test_any_plan_comes_back_as_it_was(
    store: Database,
    file: Path,
    arguments: tuple[str, ...],
    envs: tuple[tuple[str, str], ...],
    format: Format,  # noqa: A002
    runner: Runner,
    gguf: str | None,
) -> None:
    plan = a_plan(arguments=arguments, envs=envs)
    plan = replace(plan, model=replace(plan.model, format=format, runner=runner, file=gguf))
    store.save(plan, 1.0)
    found = Database(file).get("demo")
    assert found is not None
    assert found.plan == plan


def test_the_database_is_for_its_user_alone(file: Path) -> None:
    before = os.umask(0)
    try:
        Database(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_two_commands_cannot_work_on_one_name(store: Database) -> None:
    with store.working("demo", "serve"):
        busy = rf"`llm-atc serve demo` is at work on it \(process {os.getpid()} on "
        with pytest.raises(DeploymentBusy, match=busy) as caught, store.working("demo", "down"):
            pytest.fail("the name was held twice")
    assert caught.value.hint == "llm-atc status demo"


def test_a_refused_command_does_not_end_the_first_ones_hold(store: Database) -> None:
    with store.working("demo", "serve"):
        for _ in range(2):
            with pytest.raises(DeploymentBusy), store.working("demo", "down"):
                pytest.fail("the name was held twice")


def test_another_name_is_free(store: Database) -> None:
    with store.working("demo", "serve"), store.working("other", "serve"):
        pass


def test_a_hold_ends_with_its_command_however_that_ends(store: Database) -> None:
    with pytest.raises(KeyboardInterrupt), store.working("demo", "serve"):
        raise KeyboardInterrupt
    with store.working("demo", "down"):
        pass


def test_who_works_on_it_is_told(store: Database) -> None:
    store.save(a_plan(), 1.0)
    with store.working("demo", "serve"):
        found = store.get("demo")
        assert found is not None
        assert found.busy == store.all()[0].busy == f"`llm-atc serve` is at work (process {os.getpid()})"
    found = store.get("demo")
    assert found is not None
    assert found.busy is None


def test_a_living_process_keeps_its_hold(store: Database, file: Path) -> None:
    with another_process(file) as holder:
        with pytest.raises(DeploymentBusy, match=f"process {holder.pid} on"), store.working("demo", "down"):
            pytest.fail("a living process lost its hold")
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait(30) == 0
    with store.working("demo", "down"):
        pass


def test_a_killed_processs_hold_is_taken_over(store: Database, file: Path) -> None:
    store.save(a_plan(), 1.0)
    with another_process(file) as holder:
        holder.kill()
        holder.wait(30)
        found = store.get("demo")
        assert found is not None
        assert found.busy is None
        with store.working("demo", "down"):
            found = store.get("demo")
            assert found is not None
            assert found.busy == f"`llm-atc down` is at work (process {os.getpid()})"


def test_what_a_command_of_another_host_left_behind_holds_nothing(store: Database, file: Path) -> None:
    holds = file.parent / "holds"
    holds.mkdir(exist_ok=True)
    holds.joinpath("demo").write_text(
        json.dumps({"verb": "serve", "pid": 1, "host": "a-container-of-before"})
    )
    store.save(a_plan(), 1.0)
    kept = store.get("demo")
    assert kept is not None
    assert kept.busy is None
    with store.working("demo", "down"):
        assert [left.name for left in holds.iterdir()] == ["demo"]
    assert not list(holds.iterdir())


def test_a_full_disk_keeps_nobody_from_working(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with store.working("demo", "down"), pytest.raises(DeploymentBusy), store.working("demo", "serve"):
        pytest.fail("two commands are at work")


def test_a_killed_process_that_nobody_waited_for_holds_nothing(store: Database, file: Path) -> None:
    with another_process(file) as holder:
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
        with store.working("demo", "down"):
            pass


def test_a_damaged_file_is_named_with_what_helps(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"this is no database, and was never one." * 200)
    with pytest.raises(AtcError, match=f"{file}.* is damaged: file is not a database") as told:
        Database(file)
    assert str(told.value.hint).startswith(f"mv {file} {file}.damaged")


def test_a_plan_that_cannot_be_read_is_named_with_what_helps(store: Database, file: Path) -> None:
    store.save(a_plan(), 0)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE deployments SET plan = ?", ('{"of": "another version"}',))
    for look in (store.all, lambda: store.get(a_plan().name)):
        with pytest.raises(AtcError, match=f"{file} has of {a_plan().name} cannot be read") as told:
            look()
        assert str(told.value.hint).startswith(f"mv {file} {file}.damaged")


def test_a_file_that_is_damaged_in_use_is_named(store: Database, file: Path) -> None:
    store.save(a_plan(), 0)
    file.write_bytes(b"x" * 8192)
    with pytest.raises(AtcError, match=f"{file}.* is damaged"):
        Database(file).all()


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nothing"])
def test_a_place_that_can_hold_no_file_is_named(place: str) -> None:
    with pytest.raises(AtcError, match=f"{place}/state.db cannot be used: ") as told:
        Database(Path(place, "state.db"))
    assert told.value.hint == f"ls -ld {place} {place}/state.db"
