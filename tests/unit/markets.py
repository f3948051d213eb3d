"""A market of a few machines, for tests that choose."""

from __future__ import annotations

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.offers import Catalogue, Offer


def offer(
    accelerator: str,
    price: float | None,
    spot: float | None = None,
    where: str = "aws/us-east-1",
    machine: str = "m.large",
) -> Offer:
    """A machine with this accelerator."""
    cloud, _, region = where.partition("/")
    return Offer(
        cloud=cloud,
        region=region,
        instance_type=machine,
        accelerator=Accelerator.parse(accelerator),
        price=price,
        spot_price=spot,
    )


OFFERS = (
    offer("T4:1", 0.53, 0.21, machine="g4dn.xlarge"),
    offer("L4:1", 0.80, 0.33, machine="g6.xlarge"),
    offer("L4:1", 0.71, 0.25, where="gcp/us-central1", machine="g2-standard-4"),
    offer("L4:2", 2.00, 0.70, where="gcp/us-central1", machine="g2-standard-24"),
    offer("V100:1", 3.06, 0.92, machine="p3.2xlarge"),
    offer("A100:1", 3.67, 1.29, where="gcp/us-central1", machine="a2-highgpu-1g"),
    offer("A100-80GB:2", 10.06, 3.52, where="gcp/us-central1", machine="a2-ultragpu-2g"),
)


def catalogue(*offers: Offer, read: float = 0.0, clouds: tuple[str, ...] | None = None) -> Catalogue:
    """What was read: these offers, or all of the market's."""
    return Catalogue(offers=offers or OFFERS, read=read, covers=("aws", "gcp"), clouds=clouds)
