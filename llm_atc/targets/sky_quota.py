"""What an account on AWS may run, asked with the credentials and the table of quotas that SkyPilot has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_atc.plan.quota import Allowance

# So many quotas are asked for: each takes a part of a second.
MOST = 4
QUICK = {"connect_timeout": 3, "read_timeout": 5, "total_max_attempts": 1}


def allowances(sky: Any, wishes: Iterable[Any], machines: int) -> tuple[Allowance, ...]:
    """One for each wish, in order; without numbers where it is of another cloud or names no region, and where
    the account may not ask."""
    known: dict[tuple[str, str], float | None] = {}
    return tuple(_allowance(sky, wish, machines, known) for wish in wishes)


def _allowance(sky: Any, wish: Any, machines: int, known: dict[tuple[str, str], float | None]) -> Allowance:
    from sky import catalog
    from sky.catalog import aws_catalog

    aws = sky.CLOUD_REGISTRY.from_str("aws")
    if wish.cloud is None or not wish.cloud.is_same_cloud(aws) or wish.region is None:
        return Allowance(machine=str(wish.instance_type or wish.accelerators))
    machine = wish.instance_type or _machine(aws, wish, machines)
    code = aws_catalog.get_quota_code(machine, wish.use_spot) if machine else None
    if machine is None or code is None:
        return Allowance(machine=str(machine or wish.accelerators))
    cpus, _ = catalog.get_vcpus_mem_from_instance_type(machine, clouds="aws")
    asked = (wish.region, code)
    if asked not in known and len(known) < MOST:
        known[asked] = _ask(*asked)
    return Allowance(
        machine=f"{'' if machines == 1 else f'{machines} × '}{machine}{', spot,' if wish.use_spot else ''}",
        region=wish.region,
        code=code,
        need=None if cpus is None else int(cpus * machines),
        have=known.get(asked),
    )


def _machine(aws: Any, wish: Any, machines: int) -> str | None:
    found = aws.get_feasible_launchable_resources(wish, machines).resources_list
    return next((one.instance_type for one in found), None)


def _ask(region: str, code: str) -> float | None:
    """vCPUs; None where the account may not ask, or nobody answers."""
    from sky.adaptors import aws

    told = aws.botocore_exceptions()
    try:
        client = aws.client("service-quotas", region_name=region, **QUICK)
        return float(client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
    except (told.BotoCoreError, told.ClientError, OSError, KeyError, TypeError, ValueError):
        return None
