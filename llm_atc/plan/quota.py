"""Whether an account may have a machine at all: its quotas, as far as clouds tell them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm_atc.plan.preflight import Finding, ok, refused, unknown, warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What an account may run in a region of the kind that a machine is of, in vCPUs, and what it takes.

    None is what the cloud did not tell. `code` is the quota's name at the cloud.
    """

    machine: str
    region: str | None = None
    code: str | None = None
    need: int | None = None
    have: float | None = None

    @property
    def enough(self) -> bool | None:
        """Whether it may run; what runs already is not counted. None where nobody knows."""
        return None if self.have is None or self.need is None else self.have >= self.need


def quotas(found: Sequence[Allowance]) -> Iterator[Finding]:
    """A finding for each machine that may not be had, or one for all. Refused is what leaves none to try."""
    short = [one for one in found if one.enough is False]
    for one in short:
        make = refused if len(short) == len(found) else warning
        yield make(
            "quota",
            f"The account may run {one.have:g} vCPUs of this kind in {one.region}, "
            f"and {one.machine} takes {one.need}.",
            f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {one.code} "
            f"--desired-value {one.need} --region {one.region}",
        )
    if short:
        return
    if any(one.enough for one in found):
        yield ok("quota", "The account's quota is enough, as far as the cloud tells.")
    else:
        yield unknown("quota", "What the account's quota is was not told.")
