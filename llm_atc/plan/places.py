"""Where something can run: this machine, or a cloud that SkyPilot knows."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from llm_atc.errors import UsageError

LOCAL = "local"
# SkyPilot's own registry, in its spelling; tests/unit compares the two.
CLOUDS = (
    "aws",
    "azure",
    "cudo",
    "do",
    "fluidstack",
    "gcp",
    "hyperbolic",
    "ibm",
    "kubernetes",
    "lambda",
    "mithril",
    "nebius",
    "oci",
    "paperspace",
    "primeintellect",
    "runpod",
    "scp",
    "seeweb",
    "shadeform",
    "slurm",
    "ssh",
    "vast",
    "verda",
    "vsphere",
    "yotta",
)
# Where SkyPilot can stop no machine, or no spot machine, or cannot end one from within at all; compared too.
NEVER_STOP = frozenset({"cudo", "fluidstack", "kubernetes", "lambda", "runpod", "shadeform", "slurm", "ssh"})
SPOT_NEVER_STOP = frozenset({"aws", "azure", "ibm", "oci"})
NEVER_END = frozenset({"hyperbolic", "primeintellect", "verda", "yotta"})
_ALIASES = {"k8s": "kubernetes", "google": "gcp", "amazon": "aws", "digitalocean": "do", "localhost": LOCAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A cloud, and as much of region and zone as the user fixed; None leaves it to SkyPilot."""

    cloud: str | None = None
    region: str | None = None
    zone: str | None = None

    @property
    def local(self) -> bool:
        """Whether this is the machine that llm-atc runs on."""
        return self.cloud == LOCAL

    @property
    def infra(self) -> str | None:
        """SkyPilot's `infra:` value, such as `gcp/us-central1/us-central1-a`; `*` stands for any."""
        parts = [self.cloud or "*", self.region or "*", self.zone or "*"]
        while parts and parts[-1] == "*":
            parts.pop()
        return "/".join(parts) or None

    def __str__(self) -> str:
        return "this machine" if self.local else self.infra or "any cloud"


def read_place(cloud: str | None, region: str | None, zone: str | None) -> Place:
    """What --cloud, --region and --zone say together.

    Raises UsageError for a cloud that SkyPilot does not know, and for a region or zone on this machine.
    """
    name = cloud.strip().lower() if cloud else None
    name = _ALIASES.get(name, name) if name else None
    if name is not None and name != LOCAL and name not in CLOUDS:
        close = difflib.get_close_matches(name, (*CLOUDS, LOCAL), n=1)
        raise UsageError(
            f"No cloud is called {cloud!r}." + (f" Did you mean {close[0]!r}?" if close else ""),
            hint=f"--cloud {close[0] if close else 'aws'}   (one of: {LOCAL}, {', '.join(CLOUDS)})",
        )
    if name == LOCAL and (region or zone):
        raise UsageError(
            "--cloud local is this machine: it has no --region and no --zone.",
            hint="leave --region and --zone away",
        )
    return Place(cloud=name, region=region, zone=zone)
