"""The keeper's counts, where no process is needed: what a ledger may hold, and how old its machine is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_atc.keeper.config import Limits
from llm_atc.keeper.meter import Meter, write_json

NOW = 2_000_000_000.0


def meter(folder: Path) -> Meter:
    return Meter(folder, Limits(budget=10.0, hourly=1.0), NOW, NOW)


@pytest.mark.parametrize(
    "text",
    [
        *("", "\0\0\0", '{"boot": 1, "before": 9.5', "[]", "null", "3", "{}"),
        *('{"boot": 1, "before": 9, "this": [1]}', '{"boot": "now", "before": 9, "this": 1}'),
        *('{"boot": 1, "before": NaN, "this": 1}', '{"boot": 1, "before": -9, "this": 1}'),
        f'{{"boot": 1, "before": 1{"0" * 400}, "this": 1}}',
    ],
)
def test_a_damaged_ledger_counts_nothing_and_is_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text)
    read = meter(tmp_path)
    assert (read.spent(NOW), read.ledger_damaged) == (0.0, True)
    read.save(NOW, at_once=True)
    assert not meter(tmp_path).ledger_damaged


def test_a_ledger_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    assert not meter(tmp_path).ledger_damaged


def test_what_is_to_last_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fsync(number: int) -> None:
        seen.append((Path(f"/proc/self/fd/{number}").read_text(), path.read_text()))

    path = tmp_path / "ledger.json"
    write_json(path, "old")
    monkeypatch.setattr(os, "fsync", fsync)
    write_json(path, "new", lasting=True)
    assert (seen, path.read_text()) == ([('"new"', '"old"')], '"new"')


AGES = """
import time
from llm_atc.keeper.meter import machine_start
print(time.time() - machine_start(), time.clock_gettime(time.CLOCK_BOOTTIME))
"""


@pytest.mark.parametrize("clock", [[], ["--time", "--boottime", "100000"]])
def test_a_container_is_as_old_as_its_first_process(clock: list[str]) -> None:
    age, up = ages("--pid", "--fork", "--mount-proc", *clock)
    assert 0 <= age < 30 < up


def test_a_first_process_that_is_older_than_the_clock_is_not_believed() -> None:
    now = Path("/proc/uptime").read_text().split(".")[0]
    age, up = ages("--fork", "--time", "--boottime", f"-{now}")
    assert 0 <= age <= up + 0.1 < 30


def ages(*apart: str) -> tuple[float, float]:
    """How old the machine is, and its clock, in namespaces of their own."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    argv = ["unshare", *apart, sys.executable, "-c", AGES]
    age, up = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return float(age), float(up)
