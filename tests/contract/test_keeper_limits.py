"""Time and money that a running machine is given: what `llm-atc extend` leaves there, and how it is read."""

from __future__ import annotations

import json
import time
from pathlib import Path
from unittest.mock import ANY

import pytest

from llm_atc.keeper.config import Limits
from llm_atc.keeper.meter import Meter
from tests.keeper_fixtures import extend


@pytest.mark.parametrize("text", ["[]", "3", '{"ttl": "2h"}', '{"ttl": NaN}', '{"budget": -1}', "{", "\xff"])
def test_a_damaged_extension_changes_no_limit(tmp_path: Path, text: str) -> None:
    meter = Meter(tmp_path, Limits(ttl=100, asked=0), boot=1_000.0, now=1_000.0)
    (tmp_path / "extension.json").write_text(text)
    assert meter.left(1_010.0) == (90.0, ANY)


def test_an_extension_holds_for_a_job_that_was_asked_for_before_it_and_for_no_later_one(
    tmp_path: Path,
) -> None:
    state = extend(tmp_path, TTL_SECONDS="36000", ASKED_AT="1000")
    assert Meter(state, Limits(ttl=7200, asked=999), boot=500, now=2000).limits.ttl == 36000
    assert Meter(state, Limits(ttl=7200, asked=1001), boot=500, now=2000).limits.ttl == 7200
    assert Meter(state, Limits(ttl=7200, asked=999), boot=500, now=2000).limits.ttl == 7200


def test_a_first_ttl_counts_from_when_it_was_set_or_from_a_later_start(tmp_path: Path) -> None:
    now = 100_000.0
    state = extend(tmp_path, TTL_SECONDS="7200", TTL_SINCE=str(now))
    meter = Meter(state, Limits(asked=1), boot=now - 36_000, now=now)
    assert meter.left(now) == (7200, "its 12 hours are over (--ttl)")
    limits = Limits(ttl=7200, ttl_since=now, asked=time.time() + 60)
    for boot, left in ((now - 36_000, 7200), (now + 600, 7800)):
        assert Meter(state, limits, boot=boot, now=now).left(now) == (left, ANY)


def test_a_first_budget_counts_from_when_it_was_set_over_all_later_starts(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps({"boot": 0, "before": 20, "this": 30}))
    limits = Limits(budget=10, budget_since=50_000, hourly=1)
    for hours_before, boot in ((0, 100_000), (4, 200_000)):
        meter = Meter(tmp_path, limits, boot=boot, now=boot)
        assert meter.limits.budget == 60
        assert meter.left(boot) == ((10 - hours_before) * 3600, "its budget of $60.00 is spent (--budget)")
        meter.save(boot + 4 * 3600)


def test_a_first_budget_of_what_runs_leaves_out_what_was_spent_until_then(tmp_path: Path) -> None:
    state = extend(tmp_path, BUDGET_DOLLARS="10", BUDGET_SINCE="36000")
    (state / "ledger.json").write_text(json.dumps({"boot": -1e6, "before": 20, "this": 30}))
    meter = Meter(state, Limits(hourly=1, asked=1), boot=0, now=36_060)
    assert meter.left(36_000) == (36_000, "its budget of $70.00 is spent (--budget)")
    meter.save(36_061)
    assert json.loads((state / "ledger.json").read_text())["by_then"] == [36_000, 60]
