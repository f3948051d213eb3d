"""What was read of SkyPilot's catalogue, as a file: to be used without SkyPilot and without a network."""

from __future__ import annotations

import json
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.offers import Catalogue, Offer

VERSION = 1


def load(path: Path) -> Catalogue | None:
    """What the file holds; None where there is none, or one that cannot be read any more."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1)
def _read(path: Path, changed: int) -> Catalogue | None:
    """Read once as long as nobody changes it: a plan asks several times, and offers are thousands."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        if written["version"] != VERSION:
            return None
        return Catalogue(
            offers=tuple(_offer(*row) for row in written["offers"]),
            read=float(written["read"]),
            covers=tuple(written["covers"]),
            clouds=None if written["clouds"] is None else tuple(written["clouds"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def save(path: Path, catalogue: Catalogue) -> None:
    """Write the file at once, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps(
        {
            "version": VERSION,
            "read": catalogue.read,
            "covers": catalogue.covers,
            "clouds": catalogue.clouds,
            "offers": [_row(offer) for offer in catalogue.offers],
        }
    )
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(beside).replace(path)


def _row(offer: Offer) -> list[Any]:
    accelerator = offer.accelerator
    return [
        *(offer.cloud, offer.region, offer.instance_type, accelerator.name, accelerator.count),
        *(offer.price, offer.spot_price, offer.memory),
    ]


def _offer(
    cloud: str,
    region: str,
    instance_type: str,
    name: str,
    count: int,
    price: float | None,
    spot_price: float | None,
    memory: float | None,
) -> Offer:
    return Offer(
        cloud=cloud,
        region=region,
        instance_type=instance_type,
        accelerator=Accelerator(name=name, count=count),
        price=price,
        spot_price=spot_price,
        memory=memory,
    )
