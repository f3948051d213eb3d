"""When a machine ends by itself, and whether it is then stopped or removed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from llm_atc.errors import UsageError

DEFAULT_IDLE_MINUTES = 30
# What SkyPilot's agent on the machine waits after the job's end. Its tick is a minute.
MACHINE_MINUTES = 1
# While files are copied to a machine no job runs, and it must be let be: for so long at least.
COPY_MINUTES = 15
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS = (86400, 3600, 60, 1)


class Action(StrEnum):
    """What becomes of a machine whose job has ended: it is stopped, its disk kept; or removed."""

    STOP = "stop"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """When the job ends by itself, and what becomes of the machine.

    `idle_minutes` without a request, 0 for never. `ttl` is seconds from the machine's start, or from
    `ttl_since` where that is later; `budget` US dollars over all its starts, or from `budget_since` on; None
    for none. The two moments are epoch seconds, of limits that were set after the launch. No `action`:
    SkyPilot can end no machine there by itself. `copy_minutes` is how long a machine is let be while files
    are copied to it and no job runs.
    """

    idle_minutes: int = DEFAULT_IDLE_MINUTES
    action: Action | None = Action.STOP
    ttl: int | None = None
    budget: float | None = None
    copy_minutes: int = COPY_MINUTES
    ttl_since: float | None = None
    budget_since: float | None = None

    def extended(self, *, ttl: int | None, budget: float | None, now: float) -> Ending:
        """With so much more from each limit on; from `now`, an epoch second, where there is none."""
        found = self
        if ttl is not None:
            since = now if self.ttl is None else self.ttl_since
            found = replace(found, ttl=(self.ttl or 0) + ttl, ttl_since=since)
        if budget is not None:
            since = now if self.budget is None else self.budget_since
            found = replace(found, budget=(self.budget or 0) + budget, budget_since=since)
        return found

    def __str__(self) -> str:
        """A sentence: `It stops by itself after 30 minutes without a request.`"""
        when = []
        if self.idle_minutes:
            plural = "" if self.idle_minutes == 1 else "s"
            when.append(f"after {self.idle_minutes} minute{plural} without a request")
        if self.ttl is not None:
            later = "" if self.ttl_since is None else f" from {_moment(self.ttl_since)} or a later start"
            when.append(f"after {duration(self.ttl)}{later}")
        if self.budget is not None:
            later = "" if self.budget_since is None else f" from {_moment(self.budget_since)} on"
            when.append(f"when ${self.budget:.2f} are spent{later}")
        does = {Action.STOP: "It stops", Action.DOWN: "It is removed", None: "Its engine ends"}[self.action]
        bill = "" if self.action else " Its machine goes on costing money until you remove it."
        if not when:
            return f"{does} by itself only when its engine cannot start.{bill}"
        return f"{does} by itself {', or '.join(when)}.{bill}"


def _moment(epoch: float) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC"


def read_duration(text: str, *, flag: str) -> int:
    """`8h`, `90m`, `1d12h` → seconds. Raises UsageError."""
    found = _DURATION.fullmatch(text.strip())
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(found.groups(), _SECONDS, strict=True))
        if found
        else 0
    )
    if seconds <= 0:
        raise UsageError(f"{flag} {text!r} is no length of time.", hint=f"{flag} 8h   (or 90m, 1d12h)")
    return seconds


def duration(seconds: float) -> str:
    """`28800` → `8h`, `5400` → `1h30m`, `59` → `59s`: what `read_duration` reads, to the minute."""
    left = round(seconds) if seconds < 60 else round(seconds / 60) * 60
    text = ""
    for unit, letter in zip(_SECONDS, "dhms", strict=True):
        count, left = divmod(left, unit)
        text += f"{count}{letter}" if count else ""
    return text or "0s"


def read_budget(text: str | float, *, flag: str) -> float:
    """`20`, `$20` or `19.5` → US dollars. Raises UsageError."""
    try:
        dollars = float(str(text).strip().removeprefix("$"))
    except ValueError:
        dollars = 0
    if not 0 < dollars < 1e9:
        raise UsageError(f"{flag} {text!r} is no sum of US dollars.", hint=f"{flag} 20")
    return dollars


def read_action(text: str | None) -> Action | None:
    """`stop` or `down`; None leaves it to llm-atc. Raises UsageError."""
    if text is None:
        return None
    if text not in list(Action):
        raise UsageError(f"--idle-action {text!r} is neither stop nor down.", hint="--idle-action down")
    return Action(text)


def read_minutes(minutes: int | None, *, least: int, flag: str) -> int | None:
    """A number of minutes. Raises UsageError."""
    if minutes is not None and not least <= minutes <= 100_000:
        raise UsageError(f"{flag} {minutes} is no number of minutes.", hint=f"{flag} 30")
    return minutes
