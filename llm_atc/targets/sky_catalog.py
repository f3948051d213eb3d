"""What clouds sell, read from SkyPilot's own catalogue files."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from llm_atc.errors import AtcError, CloudError, OfferError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.offers import Catalogue, sells
from llm_atc.plan.places import CLOUDS, Place
from llm_atc.ports import Clock, Sold
from llm_atc.targets.catalogue_file import load, save
from llm_atc.targets.sky_client import first_line, sky_quiet
from llm_atc.targets.sky_prices import read_catalogue

T = TypeVar("T")
SECONDS = 30.0
READ_SECONDS = 60.0
# As long as SkyPilot itself takes a catalogue for new.
FRESH = 7 * 3600.0
NEAREST = 3
# Kubernetes, Slurm and SSH machines are the user's own, and in no catalogue.
LISTED = tuple(cloud for cloud in CLOUDS if cloud not in ("kubernetes", "slurm", "ssh"))


class SkyCatalog:
    """The Catalog. SkyPilot fetches what it lacks from the network, so every look has a time limit.

    What was read is kept in `file`, and used as it is while it is fresh.
    """

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def read(self, clouds: tuple[str, ...] = ()) -> Catalogue:
        kept = self._fresh()
        if kept is not None and set(clouds) & set(LISTED) <= set(kept.covers):
            return kept
        try:
            with sky_quiet():
                found = within(READ_SECONDS, lambda: read_catalogue(LISTED, clouds, self._clock.now()))
        except CloudError as error:
            old = load(self._file)
            if old is None:
                raise
            return replace(old, stale=error.message)
        save(self._file, found)
        return found

    def kept(self) -> Catalogue | None:
        return load(self._file)

    def _fresh(self) -> Catalogue | None:
        kept = load(self._file)
        return kept if kept is not None and 0 <= self._clock.now() - kept.read < FRESH else None

    def check(self, place: Place, accelerator: Accelerator) -> Sold:
        kept = self._fresh()
        if kept is not None and sells(kept.offers, place, accelerator):
            return Sold(exact=True)
        with sky_quiet():  # loads SkyPilot, which is not what the limit is for
            return within(SECONDS, lambda: _check(place, accelerator))


def _check(place: Place, accelerator: Accelerator) -> Sold:
    with sky_quiet():
        from sky import catalog

        if place.cloud and (place.region or place.zone):
            _check_region(catalog, place)
        at_home = _offers(catalog, accelerator, place.cloud) if place.cloud else []
        there = [offer for offer in at_home if _is_at(offer, place)]
        if any(offer.accelerator_count == accelerator.count for offer in there):
            return Sold(exact=True)
        everywhere = _everywhere(catalog, accelerator)
        if not everywhere:
            return Sold(exact=False, unknown=True, names=_all_names(catalog, place))
        if place.cloud is None and any(o.accelerator_count == accelerator.count for o in everywhere):
            return Sold(exact=True)
        return Sold(exact=False, nearest=_nearest(there or at_home, everywhere, accelerator))


def _check_region(catalog: Any, place: Place) -> None:
    try:
        catalog.validate_region_zone(place.region, place.zone, clouds=place.cloud)
    except ValueError as error:
        raise OfferError(first_line(error), hint=f"sky gpus list --infra {place.cloud}") from error


def _offers(catalog: Any, accelerator: Accelerator, cloud: str) -> list[Any]:
    found: dict[str, list[Any]] = catalog.list_accelerators(
        gpus_only=False,
        name_filter=f"^{re.escape(accelerator.name)}$",
        clouds=cloud,
        all_regions=True,
        case_sensitive=False,
        require_price=False,
    )
    return [offer for offers in found.values() for offer in offers]


def _everywhere(catalog: Any, accelerator: Accelerator) -> list[Any]:
    """What the clouds sell whose catalogue can be read: one that cannot hides no other."""
    found: list[Any] = []
    for cloud in LISTED:
        with contextlib.suppress(Exception):
            found += _offers(catalog, accelerator, cloud)
    return found


def _all_names(catalog: Any, place: Place) -> tuple[str, ...]:
    """What there is to be had; the error of a catalogue where none can be read."""
    names: set[str] = set()
    failed: Exception | None = None
    for cloud in (place.cloud,) if place.cloud else LISTED:
        try:
            names |= set(catalog.list_accelerators(gpus_only=True, clouds=cloud, require_price=False))
        except Exception as error:  # noqa: BLE001  (raised below, where no other cloud has a name)
            failed = error
    if failed is not None and not names:
        raise failed
    return tuple(sorted(names))


def _is_at(offer: Any, place: Place) -> bool:
    if place.cloud is not None and offer.cloud.lower() != place.cloud:
        return False
    return place.region is None or offer.region == place.region


def _nearest(there: list[Any], everywhere: list[Any], accelerator: Accelerator) -> tuple[str, ...]:
    """The closest that are sold: another number there, or in that cloud; then as asked for, elsewhere."""

    def distance(offer: Any) -> tuple[float, float]:
        return abs(offer.accelerator_count - accelerator.count), offer.price

    others = [offer for offer in everywhere if offer.accelerator_count == accelerator.count]
    ranked = [*sorted(there, key=distance)[:1], *sorted(others, key=distance)]
    texts = dict.fromkeys(
        f"{offer.accelerator_name}:{offer.accelerator_count:.0f} on {offer.cloud.lower()}/{offer.region}"
        f" (${offer.price:.2f} an hour)"
        for offer in ranked
    )
    return tuple(texts)[:NEAREST]


def within(seconds: float, look: Callable[[], T]) -> T:
    """What `look` returns, or CloudError when it takes longer; the look then goes on unheard."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(look())
        except Exception as error:  # noqa: BLE001  (handed to the caller below)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="catalogue")
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    if errors and isinstance(errors[0], AtcError) and not isinstance(errors[0], CloudError):
        raise errors[0]
    why = first_line(errors[0]) if errors else f"no answer within {seconds:.0f} seconds"
    raise CloudError(
        f"SkyPilot's catalogue of machines and prices cannot be read: {why}", hint="sky gpus list"
    )
