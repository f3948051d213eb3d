"""What `llm-atc accelerators` tells: what can be had where, for how much, and what of it fits a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.fit import Verdict, Wish
from llm_atc.plan.fit_report import FitReport, Opinion
from llm_atc.plan.offers import Choice, Offer, Terms, allowed, first_few
from llm_atc.plan.price import Speed, daily, per_million, rounded, speed
from llm_atc.plan.tuning import Tuned, Tuner


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to have an accelerator. `fits` says whether the model that is asked about fits there, `verdict`
    how, and `speed` how fast it would write, where that is known; None where no model was named."""

    choice: Choice
    fits: bool | None = None
    verdict: Verdict | Opinion | None = None
    speed: Speed | None = None

    @property
    def per_million(self) -> float | None:
        """US dollars for a million tokens written: an estimate."""
        return per_million(self.choice.hourly, self.speed) if self.speed else None

    def facts(self) -> dict[str, Any]:
        """As `--json` prints it. Prices are US dollars; null is what is not known."""
        offer, verdict = self.choice.offer, self.verdict
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
    if tuned is None:
        return Row(choice=choice, fits=False)
    found = speed(tuned.verdict, wish.concurrency)
    return Row(choice=choice, fits=True, verdict=tuned.verdict, speed=found)


def ahead(
    choices: Sequence[Choice], offers: Iterable[Offer], terms: Terms, fit: FitReport | None, most: int
) -> tuple[Row, ...]:
    """The machines that a launch tries, in its order: those that were chosen, or else what is sold of the
    accelerators that the terms name. `most` at the most, of each accelerator as many as of any other."""
    named = terms.accelerators
    found = choices or sorted(
        allowed(offers, terms) if named else (), key=lambda one: named.index(one.offer.accelerator)
    )
    kinds = {(one.offer.accelerator, one.spot) for one in found}
    each = max(1, most // max(1, len(kinds)))
    return tuple(_with_fit(choice, fit) for choice in first_few(found, most, each))


def _with_fit(choice: Choice, fit: FitReport | None) -> Row:
    opinion = fit.on(choice.offer.accelerator) if fit else None
    if fit is None or opinion is None or opinion.fits is None:
        return Row(choice=choice)
    if not opinion.fits:
        return Row(choice=choice, fits=False)
    return Row(choice=choice, fits=True, verdict=opinion, speed=speed(opinion, fit.asked))


def cheapest(found: Iterable[Row]) -> tuple[Row, ...]:
    """For each accelerator its cheapest machine on demand, and its cheapest spot machine."""
    first: dict[tuple[Accelerator, bool], Row] = {}
    for row in found:
        first.setdefault((row.choice.offer.accelerator, row.choice.spot), row)
    return tuple(first.values())
