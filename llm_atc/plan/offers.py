"""What clouds sell, and choosing from it: the cheapest machines on which a model fits, in order.

Prices are US dollars an hour for the whole machine, as SkyPilot's catalogue has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from llm_atc.errors import OfferError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.places import Place

# So many machines are handed to SkyPilot, which tries one after the other; not more of one accelerator than
# EACH, so that a shortage of it leaves others to try.
MOST, EACH = 16, 5
HOURS_A_DAY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A machine that a cloud sells in one region; None for a price at which it is not sold.

    `memory` is GiB of each accelerator, where the catalogue has it.
    """

    cloud: str
    region: str
    instance_type: str
    accelerator: Accelerator
    price: float | None
    spot_price: float | None = None
    memory: float | None = None

    def hourly(self, *, spot: bool) -> float | None:
        """US dollars an hour."""
        return self.spot_price if spot else self.price

    @property
    def where(self) -> str:
        """Cloud and region."""
        return f"{self.cloud}/{self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An offer, taken on demand or as a spot machine, at so many US dollars an hour."""

    offer: Offer
    spot: bool
    hourly: float

    def __str__(self) -> str:
        kind = ", spot" if self.spot else ""
        return (
            f"{self.offer.accelerator} on {self.offer.where} ({self.offer.instance_type}{kind}) "
            f"for ${self.hourly:.2f} an hour"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is allowed: where, which accelerators (all, when none is named), and the most it may cost.

    With `spot`, spot machines are allowed besides those on demand. `clouds` are the ones that can be used;
    None where nobody knows.
    """

    place: Place = field(default_factory=Place)
    accelerators: tuple[Accelerator, ...] = ()
    max_price: float | None = None
    spot: bool = False
    clouds: tuple[str, ...] | None = None

    def admits(self, offer: Offer) -> bool:
        """Whether the machine itself is one of those asked for, whatever it costs."""
        place = self.place
        if place.cloud is None:
            there = self.clouds is None or offer.cloud in self.clouds
        else:
            there = offer.cloud == place.cloud
        named = not self.accelerators or offer.accelerator in self.accelerators
        return there and named and place.region in (None, offer.region)


def allowed(offers: Iterable[Offer], terms: Terms) -> tuple[Choice, ...]:
    """Every way to take one of these offers within the terms, the cheapest first."""
    kinds = (False, True) if terms.spot else (False,)
    found = [
        Choice(offer=offer, spot=spot, hourly=hourly)
        for offer in offers
        if terms.admits(offer)
        for spot in kinds
        if (hourly := offer.hourly(spot=spot)) is not None
        and (terms.max_price is None or hourly <= terms.max_price)
    ]
    return tuple(sorted(found, key=_rank))


def _rank(choice: Choice) -> tuple[float, bool, str, str, str, str]:
    offer = choice.offer
    return (
        choice.hourly,
        choice.spot,
        str(offer.accelerator),
        offer.cloud,
        offer.region,
        offer.instance_type,
    )


def choose(
    offers: Iterable[Offer],
    terms: Terms,
    fits: Callable[[Accelerator], bool],
    together: Callable[[Accelerator, Accelerator], bool] = lambda first, other: True,
) -> tuple[Choice, ...]:
    """The machines to try, the cheapest on which the model fits first; empty when there is none.

    `together` says whether an engine made ready for the first choice runs on another too. With spot, what is
    sold on demand is kept for the end, so that there is something when no spot machine can be had.
    """
    asked: dict[Accelerator, bool] = {}
    fitting: list[Choice] = []
    for choice in allowed(offers, terms):
        accelerator = choice.offer.accelerator
        if accelerator not in asked:
            asked[accelerator] = fits(accelerator)
        first = fitting[0].offer.accelerator if fitting else accelerator
        if asked[accelerator] and together(first, accelerator):
            fitting.append(choice)
    spots = first_few([choice for choice in fitting if choice.spot], MOST * 2 // 3)
    rest = first_few([choice for choice in fitting if not choice.spot], MOST - len(spots))
    return tuple(sorted((*spots, *rest), key=_rank))


def first_few(choices: Sequence[Choice], most: int, each: int = EACH) -> tuple[Choice, ...]:
    """The first of these, not more than `each` of one accelerator on demand, and as many spot machines."""
    kept: Counter[tuple[Accelerator, bool]] = Counter()
    found: list[Choice] = []
    for choice in choices:
        kind = (choice.offer.accelerator, choice.spot)
        if len(found) < most and kept[kind] < each:
            kept[kind] += 1
            found.append(choice)
    return tuple(found)


def nothing_allowed(offers: Sequence[Offer], terms: Terms, model: str) -> OfferError:
    """The error when no machine is left, with what stands in the way: the place, the price, or the memory."""
    place = str(terms.place)
    there = [offer for offer in offers if terms.admits(offer)]
    if not there:
        names = ", ".join(map(str, terms.accelerators)) or "any accelerator"
        return OfferError(f"{place} does not sell {names}.", hint="llm-atc accelerators")
    cheapest = min(
        (price for offer in there for spot in (False, terms.spot) if (price := offer.hourly(spot=spot))),
        default=None,
    )
    if terms.max_price is not None and (cheapest is None or cheapest > terms.max_price):
        costs = "none has a price" if cheapest is None else f"the cheapest costs ${cheapest:.2f}"
        return OfferError(
            f"No machine on {place} costs ${terms.max_price:.2f} an hour or less: {costs}.",
            hint=f"--max-price {cheapest or terms.max_price:.2f}",
        )
    limit = f" for ${terms.max_price:.2f} an hour or less" if terms.max_price is not None else ""
    return OfferError(
        f"{model} fits on nothing that {place} sells{limit}, with the context and concurrency asked for.",
        hint=f"llm-atc accelerators --model {model}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What was read of SkyPilot's catalogue: of the clouds in `covers`, at the epoch second `read`.

    `clouds` are those that SkyPilot could use then, None where it did not say. `stale` says that newer prices
    could not be had, and why.
    """

    offers: tuple[Offer, ...]
    read: float
    covers: tuple[str, ...]
    clouds: tuple[str, ...] | None = None
    stale: str | None = None

    def age(self, now: float) -> str:
        """How old it is, for people."""
        hours = max(0.0, now - self.read) / 3600
        if hours < 1:
            return f"{hours * 60:.0f} min"
        return f"{hours:.0f} hours" if hours < 2 * HOURS_A_DAY else f"{hours / HOURS_A_DAY:.0f} days"


def sells(offers: Iterable[Offer], place: Place, accelerator: Accelerator) -> bool:
    """Whether one of these offers is exactly that, there."""
    wanted = Terms(place=place, accelerators=(accelerator,))
    return place.zone is None and any(wanted.admits(offer) for offer in offers)
