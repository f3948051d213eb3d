"""SkyPilot's catalogue (schema v8) of the simulated clouds: what they sell, where, for how much.

What is sold where follows the clouds: AWS sells A100 by eight only, GCP by one, two, four and eight.
Prices are plausible, not today's. SkyPilot takes the files as the user's own and fetches nothing, since
no checksums lie beside them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

AWS_ZONES = {  # region: {id of a zone: its name, as moto has them}
    "us-east-1": {"use1-az6": "us-east-1a", "use1-az1": "us-east-1b", "use1-az2": "us-east-1c"},
    "us-east-2": {"use2-az1": "us-east-2a", "use2-az2": "us-east-2b"},
    "us-west-2": {"usw2-az2": "us-west-2a", "usw2-az1": "us-west-2b"},
    "eu-west-1": {"euw1-az3": "eu-west-1a", "euw1-az1": "eu-west-1b"},
}
GCP_ZONES = {
    "us-central1": ("us-central1-a", "us-central1-b", "us-central1-c"),
    "europe-west4": ("europe-west4-a", "europe-west4-b"),
    "asia-southeast1": ("asia-southeast1-b", "asia-southeast1-c"),
}
GCP_BACKING_REGION = "eu-north-1"  # a region of AWS's interface that no catalogue names has GCP's machines
PRICE_FACTOR = {"eu-west-1": 1.12, "europe-west4": 1.1, "asia-southeast1": 1.15}
GIB = 1024


@dataclass(frozen=True, slots=True)
class Sold:
    """An AWS instance type; memory in GiB, the accelerators' in MiB each, prices in dollars an hour."""

    instance_type: str
    accelerator: str
    count: int
    cpus: int
    memory: int
    accelerator_memory: int
    price: float
    spot_price: float
    regions: tuple[str, ...] = tuple(AWS_ZONES)


_US = ("us-east-1", "us-east-2", "us-west-2")
AWS_SELLS = (
    Sold("m6i.large", "", 0, 2, 8, 0, 0.096, 0.035),
    Sold("m6i.xlarge", "", 0, 4, 16, 0, 0.192, 0.07),
    Sold("m6i.2xlarge", "", 0, 8, 32, 0, 0.384, 0.15),
    Sold("m6i.4xlarge", "", 0, 16, 64, 0, 0.768, 0.30),
    Sold("c6i.2xlarge", "", 0, 8, 16, 0, 0.34, 0.13),
    Sold("r6i.2xlarge", "", 0, 8, 64, 0, 0.504, 0.20),
    Sold("g4dn.xlarge", "T4", 1, 4, 16, 15360, 0.526, 0.21),
    Sold("g4dn.12xlarge", "T4", 4, 48, 192, 15360, 3.912, 1.6),
    Sold("g5.xlarge", "A10G", 1, 4, 16, 22888, 1.006, 0.45),
    Sold("g5.2xlarge", "A10G", 1, 8, 32, 22888, 1.212, 0.5),
    Sold("g5.12xlarge", "A10G", 4, 48, 192, 22888, 5.672, 2.4),
    Sold("g5.48xlarge", "A10G", 8, 192, 768, 22888, 16.288, 6.0),
    Sold("g6.xlarge", "L4", 1, 4, 16, 22888, 0.8048, 0.33),
    Sold("g6.2xlarge", "L4", 1, 8, 32, 22888, 0.9776, 0.4),
    Sold("g6.12xlarge", "L4", 4, 48, 192, 22888, 4.6016, 1.9),
    Sold("g6.48xlarge", "L4", 8, 192, 768, 22888, 13.3504, 5.0),
    Sold("g6e.xlarge", "L40S", 1, 4, 32, 45776, 1.861, 0.8),
    Sold("g6e.12xlarge", "L40S", 4, 48, 384, 45776, 10.4926, 4.4),
    Sold("g6e.48xlarge", "L40S", 8, 192, 1536, 45776, 30.1312, 12.5),
    Sold("p3.2xlarge", "V100", 1, 8, 61, 16384, 3.06, 0.92),
    Sold("p3.8xlarge", "V100", 4, 32, 244, 16384, 12.24, 3.7),
    Sold("p3.16xlarge", "V100", 8, 64, 488, 16384, 24.48, 7.3),
    Sold("p4d.24xlarge", "A100", 8, 96, 1152, 40960, 21.9576, 9.8),
    Sold("p4de.24xlarge", "A100-80GB", 8, 96, 1152, 81920, 27.4471, 12.3, ("us-east-1", "us-west-2")),
    Sold("p5.4xlarge", "H100", 1, 16, 256, 81559, 6.88, 3.0, _US),
    Sold("p5.48xlarge", "H100", 8, 192, 2048, 81559, 55.04, 24.0),
)

GCP_HOSTS = {  # machine type: (CPUs, GiB, dollars an hour)
    **{f"n2-standard-{n}": (n, 4 * n, 0.04856 * n) for n in (2, 4, 8, 16, 32)},
    "n2-highmem-8": (8, 64, 0.5241),
    **{f"n1-standard-{n}": (n, 3.75 * n, 0.0475 * n) for n in (4, 8, 16, 32, 64, 96)},
    **{f"n1-highmem-{n}": (n, 6.5 * n, 0.05914 * n) for n in (4, 8, 16, 32, 64, 96)},
    **{f"a2-highgpu-{n}g": (12 * n, 85 * n, 0.7377 * n) for n in (1, 2, 4, 8)},
    **{f"a2-ultragpu-{n}g": (12 * n, 170 * n, 1.1 * n) for n in (1, 2, 4, 8)},
    **{f"a3-highgpu-{n}g": (26 * n, 234 * n, 1.2 * n) for n in (1, 8)},
    **{f"g2-standard-{n}": (n, 4 * n, 0.0367 * n) for n in (4, 8, 12, 16, 24, 32, 48, 96)},
}
GCP_ACCELERATORS = {  # name: (counts sold, MiB each, dollars an hour each, regions)
    "T4": ((1, 2, 4), 15360, 0.35, tuple(GCP_ZONES)),
    "V100": ((1, 2, 4, 8), 16384, 2.48, ("us-central1", "europe-west4")),
    "L4": ((1, 2, 4, 8), 24576, 0.56, tuple(GCP_ZONES)),
    "A100": ((1, 2, 4, 8), 40960, 2.9339, tuple(GCP_ZONES)),
    "A100-80GB": ((1, 2, 4, 8), 81920, 3.93, tuple(GCP_ZONES)),
    "H100": ((1, 8), 81920, 9.8, tuple(GCP_ZONES)),
}
SPOT = 0.35  # of the full price, on GCP

GPU_NAMES = {  # as nvidia-smi calls them
    "T4": "Tesla T4",
    "V100": "Tesla V100-SXM2-16GB",
    "A10G": "NVIDIA A10G",
    "L4": "NVIDIA L4",
    "L40S": "NVIDIA L40S",
    "A100": "NVIDIA A100-SXM4-40GB",
    "A100-80GB": "NVIDIA A100-SXM4-80GB",
    "H100": "NVIDIA H100 80GB HBM3",
}

AWS_IMAGE_TAGS = ("custom-cpu-ubuntu", "custom-gpu-ubuntu", "custom-gpu-ubuntu-cuda13", "gpu-ubuntu-2004")
GCP_IMAGE_TAGS = (
    *("custom-cpu-ubuntu-2204", "custom-gpu-ubuntu-2204", "custom-gpu-ubuntu-2204-cuda13"),
    *("cpu-debian-11", "gpu-debian-11", "cuda121-debian-11"),
)
# `sky gpus list` opens the catalogue of every cloud that SkyPilot knows.
OTHER_CLOUDS = (
    *(
        "azure",
        "cudo",
        "do",
        "fluidstack",
        "hyperbolic",
        "ibm",
        "lambda",
        "mithril",
        "nebius",
        "oci",
        "paperspace",
    ),
    *(
        "primeintellect",
        "runpod",
        "scp",
        "seeweb",
        "shadeform",
        "vast",
        "verda",
        "yotta",
        "vsphere",
        "hyperstack",
    ),
    *("spheron", "daytona", "lium", "jarvislabs"),
)

VM_COLUMNS = (
    *(
        "InstanceType",
        "AcceleratorName",
        "AcceleratorCount",
        "vCPUs",
        "MemoryGiB",
        "GpuInfo",
        "Price",
        "SpotPrice",
    ),
    *("Region", "AvailabilityZone", "Arch"),
)
GCP_COLUMNS = (
    *("InstanceType", "vCPUs", "MemoryGiB", "AcceleratorName", "AcceleratorCount", "GpuInfo", "Region"),
    *("AvailabilityZone", "Price", "SpotPrice"),
)
IMAGE_COLUMNS = ("Tag", "Region", "OS", "OSVersion", "ImageId", "CreationDate", "BaseImageId")
QUOTA_COLUMNS = ("InstanceType", "OnDemandInstanceCode", "SpotInstanceCode")

Row = Sequence[object]


def aws_images() -> Iterator[tuple[str, str]]:
    """Tag and id of each AWS machine image; they are the same in every region."""
    for number, tag in enumerate(AWS_IMAGE_TAGS):
        yield f"skypilot:{tag}", f"ami-0{0x5CA1AB1E000 + number:016x}"


def gpus_of(instance_type: str) -> list[str]:
    """What nvidia-smi says of each GPU of an AWS machine, name and MiB; nothing of any other machine."""
    return [
        f"{GPU_NAMES[sold.accelerator]}, {sold.accelerator_memory}"
        for sold in AWS_SELLS
        if sold.instance_type == instance_type
        for _ in range(sold.count)
    ]


def write_catalog(home: Path) -> None:
    """Write the catalogue into ``~/.sky`` of this home, replacing what is there."""
    root = home / ".sky" / "catalogs" / "v8"
    _write(root / "aws" / "vms.csv", VM_COLUMNS, _aws_rows())
    images = [
        [tag, region, "ubuntu", "22.04", ami, "20260603", ""]
        for tag, ami in aws_images()
        for region in AWS_ZONES
    ]
    _write(root / "aws" / "images.csv", IMAGE_COLUMNS, images)
    quotas = [[sold.instance_type, "L-417A185B", "L-34B43A08"] for sold in AWS_SELLS]
    _write(root / "aws" / "instance_quota_mapping.csv", QUOTA_COLUMNS, quotas)
    _write(root / "gcp" / "vms.csv", GCP_COLUMNS, _gcp_rows())
    gcp_images = [
        [f"skypilot:{tag}", "", "ubuntu", "22.04", f"projects/example/global/images/{tag}", "20260603", ""]
        for tag in GCP_IMAGE_TAGS
    ]
    _write(root / "gcp" / "images.csv", IMAGE_COLUMNS, gcp_images)
    gcp_quotas = [
        ["A100", "NVIDIA-A100-GPUS-per-project-region", "PREEMPTIBLE-NVIDIA-A100-GPUS-per-project-region"]
    ]
    _write(root / "gcp" / "accelerator_quota_mapping.csv", ("Accelerator", *QUOTA_COLUMNS[1:]), gcp_quotas)
    _write(root / "common" / "accelerators.csv", ("AcceleratorName", "Clouds"), _accelerators())
    memories = [[name, "nvidia", round(memory / GIB)] for name, memory in _accelerator_memories().items()]
    _write(root / "common" / "metadata.csv", ("GPU", "Manufacturer", "MemoryGB"), memories)
    for cloud in OTHER_CLOUDS:  # a row, since SkyPilot takes an empty column of names for one of numbers
        nothing = ["none.small", "None", 1.0, 1.0, 1.0, _gpu_info("None", 1, 1), 1.0, 1.0, "nowhere", "", ""]
        _write(root / cloud / "vms.csv", VM_COLUMNS, [nothing])


def _aws_rows() -> Iterator[Row]:
    for sold in AWS_SELLS:
        for region in sold.regions:
            factor = PRICE_FACTOR.get(region, 1.0)
            gpus = (sold.accelerator, float(sold.count)) if sold.accelerator else ("", "")
            info = (
                _gpu_info(sold.accelerator, sold.count, sold.accelerator_memory) if sold.accelerator else ""
            )
            prices = (round(sold.price * factor, 4), round(sold.spot_price * factor, 4))
            for zone in AWS_ZONES[region]:
                yield [
                    sold.instance_type,
                    *gpus,
                    float(sold.cpus),
                    float(sold.memory),
                    info,
                    *prices,
                    region,
                    zone,
                    "x86_64",
                ]


def _gcp_rows() -> Iterator[Row]:
    """GCP sells machines and accelerators apart, so each has rows of its own."""
    for region, zones in GCP_ZONES.items():
        factor = PRICE_FACTOR.get(region, 1.0)
        for zone in zones:
            for kind, (cpus, memory, price) in GCP_HOSTS.items():
                prices = (round(price * factor, 4), round(price * factor * SPOT, 4))
                yield [kind, float(cpus), float(memory), "", "", "", region, zone, *prices]
            for name, (counts, memory, each, regions) in GCP_ACCELERATORS.items():
                for count in counts if region in regions else ():
                    price = each * count * factor
                    gpus = ["", "", "", name, float(count), _gpu_info(name, count, memory)]
                    yield [*gpus, region, zone, round(price, 4), round(price * SPOT, 4)]


def _accelerators() -> Iterator[Row]:
    aws = {sold.accelerator for sold in AWS_SELLS if sold.accelerator}
    for name in sorted(aws | GCP_ACCELERATORS.keys()):
        yield [name, str(["AWS"] * (name in aws) + ["GCP"] * (name in GCP_ACCELERATORS))]


def _accelerator_memories() -> dict[str, int]:
    aws = {sold.accelerator: sold.accelerator_memory for sold in AWS_SELLS if sold.accelerator}
    return {**aws, **{name: memory for name, (_, memory, _, _) in GCP_ACCELERATORS.items()}}


def _gpu_info(name: str, count: int, memory: int) -> str:
    gpu = {"Name": name, "Manufacturer": "NVIDIA", "Count": float(count), "MemoryInfo": {"SizeInMiB": memory}}
    return str({"Gpus": [gpu], "TotalGpuMemoryInMiB": memory * count})


def _write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
