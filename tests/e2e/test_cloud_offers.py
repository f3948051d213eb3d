"""The cheapest machine that fits, and the next one when it cannot be had: on the simulated region.

What a machine was sold as decides the engine's options there; the engine's own command line is what counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.cloud.client import SimulatedRegion

pytestmark = [pytest.mark.timeout(900)]

NAME = "offered"
MODEL = "llm-atc/tiny"
ON_AWS = ("--cloud", "aws", "--region", "us-east-1")
ON_GCP = ("--cloud", "gcp", "--region", "us-central1")


@pytest.fixture(scope="module")
def source(region: SimulatedRegion, tiny_model: Path) -> str:
    """The tiny model in a bucket."""
    region.s3().create_bucket(Bucket="offered-models")
    for file in tiny_model.iterdir():
        region.s3().upload_file(str(file), "offered-models", f"tiny/{file.name}")
    return "s3://offered-models/tiny/"


@pytest.fixture(autouse=True)
def nothing_left(region: SimulatedRegion) -> Iterator[None]:
    """Whatever a test leaves is removed by llm-atc's own command."""
    yield
    region.run("llm-atc", "down", "--all", "--yes", check=False)
    assert region.instances() == ()


def serve(region: SimulatedRegion, source: str, *words: str) -> str:
    """Serve, and return what was said on the way, in one line."""
    model = ("--name", MODEL, "--source", source, "-c", NAME)
    done = region.run("llm-atc", "serve", *model, *words, timeout=600)
    return " ".join(done.stderr.split())


def engine_command(region: SimulatedRegion) -> list[str]:
    """The words of the engine's process on the machine."""
    each = "for process in /proc/[0-9]*; do tr '\\0' ' ' < $process/cmdline 2>/dev/null; echo; done"
    lines = region.ssh(NAME, each).stdout.splitlines()
    # The keeper's own words name the engine's too.
    (line,) = {line for line in lines if "bin/vllm serve " in line and "llm_atc.keeper" not in line}
    return line.split()


def answer(region: SimulatedRegion) -> str:
    facts = json.loads(region.run("llm-atc", "endpoint", NAME, "--json").stdout)
    with openai.OpenAI(base_url=facts["base_url"], api_key=facts["api_key"], timeout=60) as client:
        return client.completions.create(model=MODEL, prompt="Hello", max_tokens=4).choices[0].text


def test_the_cheapest_that_fits_is_launched(region: SimulatedRegion, source: str) -> None:
    many = ("--concurrency", "15000", "--max-price", "1.90")  # more than the cheaper T4 holds
    said = serve(region, source, "--accelerator", "auto", *many, *ON_AWS)
    assert "The cheapest on which it fits: L4:1 on aws/us-east-1 (g6.xlarge) for $0.80 an hour." in said
    assert "Verdict will start" in said
    assert "Machine aws/us-east-1 L4:1 g6.xlarge for $0.80 an hour ($19.32 a day)" in said
    assert re.search(r"Prices read \d+ min ago", said)
    assert "L4:1 aws/us-east-1 g6.xlarge on demand 0.80 yes 2048" in said
    (machine,) = region.instances()
    assert (machine.instance_type, machine.zone[:-1]) == ("g6.xlarge", "us-east-1")
    sold = json.loads(
        region.run("llm-atc", "accelerators", "--model", source, *many, *ON_AWS, "--json").stdout
    )
    assert next(one["hourly"] for one in sold if one["fits"]) == 0.8048
    assert sold[0]["hourly"] == 0.526
    assert answer(region)


def test_without_capacity_the_next_is_used_with_its_own_options_and_both_are_told(
    region: SimulatedRegion, source: str
) -> None:
    with region.faults(no_capacity=["g4dn.xlarge"]):
        said = serve(region, source, *ON_AWS)  # without --accelerator
    assert "The cheapest on which it fits: T4:1 on aws/us-east-1 (g4dn.xlarge) for $0.53 an hour." in said
    assert (
        "T4:1 on aws/us-east-1 could not be had (no capacity): "
        "L4:1 on aws/us-east-1 is used (g6.xlarge, $0.80 an hour)." in said
    )
    assert [machine.instance_type for machine in region.instances()] == ["g6.xlarge"]
    assert "--dtype" not in engine_command(region)  # which the T4 would have needed
    assert answer(region)

    region.run("llm-atc", "stop", NAME)
    region.run("llm-atc", "start", NAME, timeout=600)  # the T4 could be had again
    assert [machine.instance_type for machine in region.instances()] == ["g6.xlarge"]
    assert "--dtype" not in engine_command(region)


def test_two_l4_in_the_place_of_an_a100_share_the_model(region: SimulatedRegion, source: str) -> None:
    with region.faults(no_capacity=["a2-highgpu-1g"]):
        said = serve(
            region,
            source,
            *("--accelerator", "A100:1,L4:2", *ON_GCP),
            # Without this, vLLM's CPU build wants a NUMA node for each of the two.
            *("-e", "VLLM_CPU_OMP_THREADS_BIND=nobind"),
            # Half of the tiny model is of the size that vLLM does not ask for AMX with, and uses it.
            *("--dtype", "float16"),
        )
    assert "A100:1 on gcp/us-central1 could not be had" in said
    assert "L4:2 on gcp/us-central1 is used (g2-standard-24, $2.00 an hour)." in said
    (machine,) = region.instances()
    assert machine.instance_type == "g2-standard-24"
    command = engine_command(region)
    assert command.count("--tensor-parallel-size") == 1
    assert command[command.index("--tensor-parallel-size") + 1] == "2"
    assert answer(region)
