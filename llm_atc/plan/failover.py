"""What SkyPilot tells while it tries one machine after the other: as one sentence for the user."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The row of SkyPilot's table that it marks as taken: infra, machine, CPUs, memory, GPUs, dollars an hour.
_TAKEN = re.compile(
    r"\s*(?P<cloud>\S+) \((?P<where>[^)]+)\)\s{2,}(?P<machine>\S+)\s+\S+\s+\S+\s+(?P<gpus>\S+)\s+"
    r"(?P<price>[\d.]+)\s+✔"
)
_FAILED = re.compile(r"Failed to acquire resources in ")
_CAUSES = (
    (re.compile(r"InsufficientInstanceCapacity|RESOURCE_POOL_EXHAUSTED|AllocationFailed"), "no capacity"),
    (re.compile(r"LimitExceeded|quota\b.*exceeded|exceeded.*\bquota\b", re.IGNORECASE), "no quota"),
)
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    gpus: str
    place: str
    machine: str
    price: str

    def __str__(self) -> str:
        return f"{self.gpus} on {self.place}"


class Failover:
    """Hears the lines of a launch, and knows in the end what could not be had and what was taken instead."""

    def __init__(self) -> None:
        self._now: _Attempt | None = None
        self._failed: list[_Attempt] = []
        self._causes: dict[str, None] = {}

    def hear(self, line: str) -> None:
        """One line of SkyPilot's."""
        taken = _TAKEN.match(line)
        if taken is not None:
            self._now = _attempt(taken)
        elif _FAILED.search(line) and self._now is not None:
            self._failed.append(self._now)
        else:
            self._causes |= {cause: None for found, cause in _CAUSES if found.search(line)}

    @property
    def note(self) -> str | None:
        """What the user should know; None when the first choice was had, if in another zone."""
        now = self._now
        tried = list(dict.fromkeys(str(one) for one in self._failed))
        if now is None or tried in ([], [str(now)]):
            return None
        more = f" and {len(tried) - SHOWN} more" if len(tried) > SHOWN else ""
        why = f" ({', '.join(self._causes)})" if self._causes else ""
        return (
            f"{', '.join(tried[:SHOWN])}{more} could not be had{why}: "
            f"{now} is used ({now.machine}, ${now.price} an hour)."
        )


def _attempt(taken: re.Match[str]) -> _Attempt:
    """GCP's rows name a zone, others a region: a zone ends in a letter of its own."""
    region = re.sub(r"-[a-z]$", "", taken["where"])
    return _Attempt(
        gpus=taken["gpus"],
        place=f"{taken['cloud'].lower()}/{region}",
        machine=taken["machine"].replace("[Spot]", ", spot"),
        price=taken["price"],
    )
