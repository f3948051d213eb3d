"""Every machine with an accelerator that is in SkyPilot's catalogue, with its prices."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

from llm_atc.errors import CloudError, UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.offers import Catalogue, Offer
from llm_atc.targets.sky_client import sky_quiet


def read_catalogue(listed: Iterable[str], wanted: Iterable[str], now: float) -> Catalogue:
    """All that the usable clouds and the wanted ones sell, or all that are listed where nobody says which
    are usable.

    A cloud whose catalogue cannot be read hides no other; CloudError when none can.
    """
    with sky_quiet() as sky:
        usable = _known_clouds(sky)
        wanted = set(wanted)
        clouds = [cloud for cloud in listed if usable is None or cloud in usable or cloud in wanted]
        offers: list[Offer] = []
        for cloud in clouds:
            with contextlib.suppress(Exception):
                offers += _sold(cloud)
    if not offers:
        raise CloudError(
            f"SkyPilot's catalogue has no machine with an accelerator: {', '.join(clouds) or 'no cloud'}.",
            hint="sky gpus list",
        )
    return Catalogue(offers=tuple(offers), read=now, covers=tuple(clouds), clouds=usable)


def _known_clouds(sky: Any) -> tuple[str, ...] | None:
    """The clouds that SkyPilot may use, by an API server that runs already; None without one."""
    from sky.client import sdk
    from sky.server import common

    with contextlib.suppress(Exception):
        if common.get_api_server_status().status == common.ApiServerStatus.HEALTHY:
            return tuple(sorted(str(name).lower() for name in sky.get(sdk.enabled_clouds()))) or None
    return None


def _sold(cloud: str) -> Iterator[Offer]:
    from sky import catalog

    found = catalog.list_accelerators(gpus_only=True, clouds=cloud, all_regions=True, require_price=True)
    for item in (item for items in found.values() for item in items):
        accelerator = _accelerator(item.accelerator_name, item.accelerator_count)
        if accelerator is not None and item.instance_type:
            yield Offer(
                cloud=cloud,
                region=item.region,
                instance_type=item.instance_type,
                accelerator=accelerator,
                price=_number(item.price),
                spot_price=_number(item.spot_price),
                memory=_number(item.device_memory),
            )


def _accelerator(name: str, count: float) -> Accelerator | None:
    """The accelerator, if it is one that is known here, and a whole number of them."""
    if count != int(count):
        return None
    with contextlib.suppress(UsageError):
        read = Accelerator.parse(f"{name}:{int(count)}")
        return read if read.chip is not None else None
    return None


def _number(value: Any) -> float | None:
    """A price or a size; None for what the catalogue leaves empty."""
    number = float("nan") if value is None else float(value)
    return None if math.isnan(number) or number <= 0 else round(number, 4)
