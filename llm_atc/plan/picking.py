"""The machines to try for a model, in order, each with the engine's options for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.engine import EngineName
from llm_atc.plan.offers import MOST, Choice, Offer, Terms, allowed, choose, first_few, nothing_allowed
from llm_atc.plan.tuning import Tuned, Tuner, together


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Machines in the order in which they are tried; `tuned` is how the engine is set on each accelerator,
    where that was planned."""

    choices: tuple[Choice, ...]
    tuned: tuple[Tuned, ...] = ()

    @property
    def accelerators(self) -> tuple[Accelerator, ...]:
        """Each accelerator once, in order of preference."""
        return tuple(dict.fromkeys(choice.offer.accelerator for choice in self.choices))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen, and what comes next, for people."""
        first, *others = self.choices
        said = f"The cheapest on which it fits: {first}." if self.tuned else f"The first choice: {first}."
        if not others:
            return (said,)
        other = next((one for one in others if one.offer.accelerator != first.offer.accelerator), others[0])
        return (f"{said} Where that cannot be had, {len(others)} more are tried, such as {other}.",)


def pick(model: str, engine: EngineName, offers: Iterable[Offer], terms: Terms, tuner: Tuner) -> Picked:
    """The cheapest machines within the terms on which the model fits. OfferError when there is none."""
    all_offers = tuple(offers)
    found: dict[Accelerator, Tuned | None] = {}

    def fits(accelerator: Accelerator) -> bool:
        found[accelerator] = tuner(accelerator)
        return found[accelerator] is not None

    alike = together if engine is EngineName.VLLM else (lambda first, other: True)
    choices = choose(all_offers, terms, fits, alike)
    if not choices:
        raise nothing_allowed(all_offers, terms, model)
    picked = Picked(choices=choices)
    return replace(picked, tuned=tuple(tuned for name in picked.accelerators if (tuned := found[name])))


def narrow(model: str, offers: Iterable[Offer], terms: Terms) -> Picked:
    """The machines of the accelerators that the terms name, in that order, each from the cheapest on.

    OfferError when there is none.
    """
    all_offers = tuple(offers)
    found = sorted(
        allowed(all_offers, terms), key=lambda choice: terms.accelerators.index(choice.offer.accelerator)
    )
    if not found:
        raise nothing_allowed(all_offers, terms, model)
    return Picked(choices=first_few(found, MOST))
