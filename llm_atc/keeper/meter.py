"""How long the machine has run, what that cost, and when its time or money is over."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from llm_atc.keeper.config import Limits
from llm_atc.keeper.words import dollars, span

SAME_BOOT = 120.0  # a clock that was set right moves the boot's time by that much, at most
SAVE_EVERY = 60.0
WARN_BEFORE = 600.0


def boot_time() -> float:
    """When this machine was started, in seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class Meter:
    """Counts this machine's hours and dollars, over restarts of the job and of the machine.

    What earlier starts cost is kept in `ledger.json`; `extension.json`, where `llm-atc extend` puts one, has
    the limits that hold now. Its file's time is when they were asked for: one that is older than the job is
    dropped, for the job's own variables have it in them.
    """

    def __init__(self, folder: Path, limits: Limits, boot: float, now: float) -> None:
        self._ledger, self._extension = folder / "ledger.json", folder / "extension.json"
        self._limits = limits
        self._boot = boot
        self._saved = now
        self._before, self._by_then = 0.0, (0.0, 0.0)
        self._read_ledger()
        self._read: float | None = None
        with suppress(OSError):
            if limits.asked is None or self._extension.stat().st_mtime <= limits.asked:
                self._extension.unlink()
        self._limits = self._from_the_start(limits)

    def _read_ledger(self) -> None:
        """Dollars of earlier starts of this machine, and those by the moment that its budget counts from."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(self._ledger.read_text())
            same = abs(kept["boot"] - self._boot) < SAME_BOOT
            self._before = float(kept["before"]) + (0 if same else float(kept["this"]))
            moment, dollars_then = kept["by_then"]
            self._by_then = (float(moment), float(dollars_then))

    def _from_the_start(self, limits: Limits) -> Limits:
        """The same limits with a ttl from this machine's start, and a budget over all its starts."""
        ttl, budget = limits.ttl, limits.budget
        if ttl is not None and limits.ttl_since is not None:
            ttl += max(limits.ttl_since - self._boot, 0)
        if budget is not None and limits.budget_since is not None:
            budget += self._spent_by(limits.budget_since)
        return replace(limits, ttl=ttl, budget=budget, ttl_since=None, budget_since=None)

    def _spent_by(self, moment: float) -> float:
        """Dollars up to that moment, which is in this start or before it: counted once, then kept."""
        if self._by_then[0] != moment:
            self._by_then = (moment, self.spent(moment) or 0.0)
            self._saved = 0.0
        return self._by_then[1]

    @property
    def limits(self) -> Limits:
        """The limits that hold now."""
        with suppress(OSError, ValueError, TypeError):
            changed = self._extension.stat().st_mtime
            if changed != self._read:
                told = json.loads(self._extension.read_text())
                self._read = changed
                names = ("ttl", "ttl_since", "budget", "budget_since")
                newer = {name: told.get(name) or None for name in names}
                self._limits = self._from_the_start(replace(self._limits, **newer))
        return self._limits

    def spent(self, now: float) -> float | None:
        """Dollars so far, over all starts; None when the price is not known."""
        hourly = self._limits.hourly
        return None if hourly is None else self._before + self._this(now, hourly)

    def _this(self, now: float, hourly: float) -> float:
        return max(now - self._boot, 0) / 3600 * hourly

    def left(self, now: float) -> tuple[float, str] | None:
        """Seconds until time or money is over, whichever is first, and which; None when neither can be."""
        limits, found = self.limits, []
        if limits.ttl is not None:
            found.append((self._boot + limits.ttl - now, f"its {span(limits.ttl)} are over (--ttl)"))
        spent = self.spent(now)
        if limits.budget is not None and limits.hourly and spent is not None:
            seconds = (limits.budget - spent) / limits.hourly * 3600
            found.append((seconds, f"its budget of {dollars(limits.budget)} is spent (--budget)"))
        return min(found, default=None)

    def save(self, now: float, *, at_once: bool = False) -> None:
        """Write the ledger, once a minute; a full disk is no reason to stop."""
        hourly = self._limits.hourly
        if hourly is None or (now - self._saved < SAVE_EVERY and not at_once):
            return
        self._saved = now
        this = self._this(now, hourly)
        write_json(
            self._ledger,
            {"boot": self._boot, "before": self._before, "this": this, "by_then": self._by_then},
        )


def write_json(path: Path, value: object) -> None:
    """Write it so that a reader sees the old file or the new one, whole; quiet where that cannot be done."""
    draft = path.with_name(f".{path.name}.draft")
    with suppress(OSError):
        draft.write_text(json.dumps(value))
        draft.replace(path)
