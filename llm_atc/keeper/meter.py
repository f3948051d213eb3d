"""How long the machine has run, what that cost, and when its time or money is over."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from llm_atc.keeper.config import Limits
from llm_atc.keeper.words import dollars, span

SAME_BOOT = 120.0  # a clock that was set right moves the boot's time by that much, at most
SAVE_EVERY = 60.0
WARN_BEFORE = 600.0


def machine_start() -> float:
    """When this machine, or the container that it is, was started, in seconds since the epoch."""
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - _age_of_the_first_process(up)


def _age_of_the_first_process(up: float) -> float:
    """In seconds, `up` at most; `up` where the system does not show it."""
    with suppress(OSError, ValueError, IndexError):
        begun = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
        age = up - begun / os.sysconf("SC_CLK_TCK")
        return age if age >= 0 else up  # one that began before its clock's zero shows a number beyond all
    return up


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
        self._by_then = (0.0, 0.0)
        self.ledger_damaged = False
        self._before = self._read_ledger()
        self._read: float | None = None
        with suppress(OSError):
            if limits.asked is None or self._extension.stat().st_mtime <= limits.asked:
                self._extension.unlink()
        self._limits = self._from_the_start(limits)

    def _read_ledger(self) -> float:
        """Dollars of earlier starts of this machine; 0 where that cannot be read."""
        try:
            kept = json.loads(self._ledger.read_text())
            same = abs(kept["boot"] - self._boot) < SAME_BOOT
            before = float(kept["before"]) + (0 if same else float(kept["this"]))
            moment, then = kept.get("by_then", self._by_then)
            self._by_then = (float(moment), float(then))
        except FileNotFoundError:
            return 0.0
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            before = math.nan
        self.ledger_damaged = not 0 <= before < math.inf
        return 0.0 if self.ledger_damaged else before

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
                self._read = changed
                newer = _read_extension(self._extension.read_text())
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
        ledger = {"boot": self._boot, "before": self._before, "this": this, "by_then": self._by_then}
        write_json(self._ledger, ledger, lasting=True)


def _read_extension(text: str) -> dict[str, float | None]:
    """The limits of an extension, None for those that it does not set. Raises ValueError for what is none."""
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError("an extension is an object")
    found: dict[str, float | None] = {}
    for name in ("ttl", "ttl_since", "budget", "budget_since"):
        value = float(told.get(name) or 0)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}")
        found[name] = value or None
    return found


def write_json(path: Path, value: object, *, lasting: bool = False) -> None:
    """Write it so that a reader sees the old file or the new one, whole; quiet where that cannot be done.

    Where it is to be `lasting` that holds after a power cut too, and takes as long as the disk does.
    """
    draft = path.with_name(f".{path.name}.draft")
    with suppress(OSError):
        with draft.open("w") as file:
            file.write(json.dumps(value))
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        draft.replace(path)
