"""What `llm-atc accelerators` tells: what can be had where, for how much, and what of it fits a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.fit import Wish
from llm_atc.plan.offers import Choice, Offer, Terms, allowed
from llm_atc.plan.price import Speed, daily, per_million, rounded, speed
from llm_atc.plan.tuning import Tuned, Tuner


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to have an accelerator. `fits` says whether the model that is asked about fits there, `tuned`
    how, and `speed` how fast it would write, where that is known; None where no model was named."""

    choice: Choice
    fits: bool | None = None
    tuned: Tuned | None = None
    speed: Speed | None = None

    @property
    def per_million(self) -> float | None:
        """US dollars for a million tokens written: an estimate."""
        return per_million(self.choice.hourly, self.speed) if self.speed else None

    def facts(self) -> dict[str, Any]:
        """As `--json` prints it. Prices are US dollars; null is what is not known."""
        offer, verdict = self.choice.offer, self.tuned.verdict if self.tuned else None
        return {
            "accelerator": offer.accelerator.name,
            "count": offer.accelerator.count,
            "memory": offer.memory,
            "cloud": offer.cloud,
            "region": offer.region,
            "instance_type": offer.instance_type,
            "spot": self.choice.spot,
            "hourly": self.choice.hourly,
            "daily": rounded(daily(self.choice.hourly)),
            "fits": self.fits,
            "max_model_len": verdict.max_model_len if verdict else None,
            "concurrency": verdict.concurrency if verdict else None,
            "dollars_per_million_tokens": rounded(self.per_million),
        }


def rows(
    offers: Iterable[Offer], terms: Terms, tuner: Tuner | None = None, wish: Wish | None = None
) -> tuple[Row, ...]:
    """Every way to have a machine within the terms, the cheapest first; `tuner` says what fits where."""
    known: dict[Accelerator, Tuned | None] = {}
    return tuple(_row(choice, known, tuner, wish or Wish()) for choice in allowed(offers, terms))


def _row(choice: Choice, known: dict[Accelerator, Tuned | None], tuner: Tuner | None, wish: Wish) -> Row:
    if tuner is None:
        return Row(choice=choice)
    accelerator = choice.offer.accelerator
    if accelerator not in known:
        known[accelerator] = tuner(accelerator)
    tuned = known[accelerator]
    found = speed(tuned.verdict, wish.concurrency) if tuned else None
    return Row(choice=choice, fits=tuned is not None, tuned=tuned, speed=found)


def cheapest(found: Iterable[Row]) -> tuple[Row, ...]:
    """For each accelerator its cheapest machine on demand, and its cheapest spot machine."""
    first: dict[tuple[Accelerator, bool], Row] = {}
    for row in found:
        first.setdefault((row.choice.offer.accelerator, row.choice.spot), row)
    return tuple(first.values())
