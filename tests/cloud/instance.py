"""What the region knows of an instance at one moment, free of the library that simulates AWS's interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["pending", "running", "shutting-down", "terminated", "stopping", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The IAM role of an instance, through its instance profile."""

    name: str
    arn: str
    profile_arn: str
    profile_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """An EC2 instance as its machine has to be: running or not, reachable at which address and ports.

    ``starts`` counts how often it was started, so that a stop and start between two looks is a reboot too.
    """

    id: str
    state: State
    starts: int
    instance_type: str
    image_id: str
    account_id: str
    region: str
    zone: str
    private_ip: str
    public_ip: str | None
    spot: bool
    user_data: str
    open_ports: frozenset[int]
    role: Role | None
    imds_v2_only: bool

    @property
    def hostname(self) -> str:
        """The name that EC2 gives a machine by its private address."""
        return "ip-" + self.private_ip.replace(".", "-")
