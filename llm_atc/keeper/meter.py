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
    the limits that hold now.
    """

    def __init__(self, folder: Path, limits: Limits, boot: float, now: float) -> None:
        self._ledger, self._extension = folder / "ledger.json", folder / "extension.json"
        self._limits = limits
        self._boot = boot
        self._saved = now
        self.ledger_damaged = False
        self._before = self._read_before()
        self._read: float | None = None
        with suppress(OSError):
            self._extension.unlink(missing_ok=True)  # the task's own variables are newer

    def _read_before(self) -> float:
        """Dollars of earlier starts of this machine; 0 where that cannot be read."""
        try:
            kept = json.loads(self._ledger.read_text())
            same = abs(kept["boot"] - self._boot) < SAME_BOOT
            before = float(kept["before"]) + (0 if same else float(kept["this"]))
        except FileNotFoundError:
            return 0.0
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            before = math.nan
        self.ledger_damaged = not 0 <= before < math.inf
        return 0.0 if self.ledger_damaged else before

    @property
    def limits(self) -> Limits:
        """The limits that hold now."""
        with suppress(OSError, ValueError, TypeError):
            changed = self._extension.stat().st_mtime
            if changed != self._read:
                told = json.loads(self._extension.read_text())
                self._read = changed
                self._limits = replace(
                    self._limits, ttl=told.get("ttl") or None, budget=told.get("budget") or None
                )
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
        ledger = {"boot": self._boot, "before": self._before, "this": self._this(now, hourly)}
        write_json(self._ledger, ledger, lasting=True)


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
