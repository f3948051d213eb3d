"""What the clouds that SkyPilot may use have for a wish, and for how much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_atc.errors import CloudNotReady, ProvisionFailed
from llm_atc.ports import Quote


def best_offer(sky: Any, wishes: Iterable[Any], cloud: str | None, machines: int) -> Quote:
    """The cheapest machine for the first wish that any enabled cloud can fill.

    `wishes` are SkyPilot's resources in order of preference. Raises CloudNotReady, ProvisionFailed.
    """
    clouds = usable_clouds(sky, cloud)
    for wish in wishes:
        offers = [offer for name in clouds for offer in _offers(sky, name, wish, machines)]
        if offers:
            hourly, resources = min(offers, key=lambda offer: offer[0] or float("inf"))
            return Quote(resources=resources, hourly=hourly, spot=bool(wish.use_spot))
    raise ProvisionFailed(
        f"No cloud that is enabled here has a machine like this: {', '.join(clouds)}.", hint="sky check"
    )


def hourly_cost(resources: Any, machines: int) -> float | None:
    """US dollars an hour; None for a machine without a price in the catalogue."""
    try:
        return float(resources.get_cost(3600) * machines)
    except (TypeError, ValueError, AssertionError):
        return None


def _offers(sky: Any, cloud: str, wish: Any, machines: int) -> list[tuple[float | None, str]]:
    """What this cloud has for a wish: US dollars an hour, and the machine as a person reads it."""
    known = sky.CLOUD_REGISTRY.from_str(cloud)
    if wish.cloud is not None and not wish.cloud.is_same_cloud(known):
        return []
    feasible = known.get_feasible_launchable_resources(wish, machines).resources_list
    return [
        (hourly_cost(found, machines), f"{cloud}{_in(found)} {found.instance_type}") for found in feasible
    ]


def _in(resources: Any) -> str:
    region = f"/{resources.region}" if resources.region else ""
    return region + "".join(f" {name}:{count}" for name, count in (resources.accelerators or {}).items())


def usable_clouds(sky: Any, cloud: str | None) -> tuple[str, ...]:
    """The clouds that SkyPilot may use, or the one asked for; it looks again before the answer is no."""

    from sky.client import sdk

    def enabled() -> set[str]:
        return {str(name).lower() for name in sky.get(sdk.enabled_clouds())}

    for look in (0, 1):
        if look:
            sky.get(sdk.check((cloud,) if cloud else None, verbose=False))
        found = enabled()
        if cloud in found or (cloud is None and found):
            return (cloud,) if cloud else tuple(sorted(found))
    which = f"{cloud} is not enabled in SkyPilot" if cloud else "No cloud is enabled in SkyPilot"
    raise CloudNotReady(
        f"{which}: its credentials are missing or were refused.", hint=f"sky check {cloud or ''}".rstrip()
    )
