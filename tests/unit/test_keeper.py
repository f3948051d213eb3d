"""The keeper's counts, where no process is needed: what a ledger may hold."""

from __future__ import annotations

import os
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
