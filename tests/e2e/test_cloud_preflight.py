"""What cannot start is refused on a cloud before any machine exists: no instance was ever started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.client import SimulatedRegion
from tests.e2e.conftest import TOKEN
from tests.hub import Hub

pytestmark = [pytest.mark.timeout(900)]

EVER = ("pending", "running", "shutting-down", "terminated", "stopping", "stopped")
ON_AWS = ("--cloud", "aws", "--region", "us-east-2")
L4 = ("--accelerator", "L4:1")


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def faulty(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a good model, and with others that have one fault each."""
    root = tmp_path_factory.mktemp("faulty")
    folders = {}
    for name in ("good", "gated", "martian", "awq", "cut", "wordless"):
        folders[f"org/{name}"] = root / name
        shutil.copytree(tiny_model, root / name)
    rewrite(root / "martian" / "config.json", architectures=["MartianForCausalLM"])
    rewrite(root / "awq" / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    weights = root / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for tokenizer in (root / "wordless").glob("tokenizer*"):
        tokenizer.unlink()
    with Hub(folders, gated={"org/gated": TOKEN}) as hub:
        yield hub


# What is typed after `serve`, and what is said.
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "absent model": (("org/none", *L4, *ON_AWS), "No model 'org/none' on the hub"),
    "gated model": (("org/gated", *L4, *ON_AWS), "org/gated is gated"),
    "absent revision": (("org/good@v9", *L4, *ON_AWS), "no revision 'v9'"),
    "unknown architecture": (("org/martian", *L4, *ON_AWS), "does not know the architecture"),
    "truncated file": (("org/cut", *L4, *ON_AWS), "it is cut short"),
    "missing tokenizer": (("org/wordless", *L4, *ON_AWS), "No tokenizer lies beside"),
    "wrong engine": (("org/good", *L4, *ON_AWS, "--backend", "llama-cpp"), "llama-cpp cannot load"),
    "context too long": (("org/good", *L4, *ON_AWS, "--max-model-len", "4096"), "made for 2048"),
    "quantization mismatch": (("org/awq", *L4, *ON_AWS, "--quantization", "gptq"), "quantized by awq"),
    "a chip that is too old": (
        ("org/good", "--accelerator", "V100:1", *ON_AWS, "--dtype", "bfloat16"),
        "bfloat16",
    ),
    "heads that do not divide": (
        ("org/good", "--accelerator", "A100:8", *ON_AWS, "--gpus", "3"),
        "cannot be shared by 3 GPUs",
    ),
    "not sold there": (("org/good", "--accelerator", "A100-80GB:2", *ON_AWS), "does not sell A100-80GB:2"),
    "unknown accelerator": (("org/good", "--accelerator", "H1000:1", *ON_AWS), "No accelerator is called"),
    "unknown region": (("org/good", *L4, "--cloud", "aws", "--region", "us-central1"), "us-central1"),
    "price too high": (("org/good", *ON_AWS, "--max-price", "0.01"), "costs $0.01 an hour or less"),
}


def ever(region: SimulatedRegion) -> set[str]:
    """The ids of all machines that there ever were."""
    return {machine.id for machine in region.instances(*EVER)}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_and_no_machine_was_ever_started(
    case: str, region: SimulatedRegion, faulty: Hub
) -> None:
    words, says = REFUSED[case]
    before = ever(region)
    done = region.run(
        "llm-atc", "serve", *words, "-c", "refused", "--yes", env={"HF_ENDPOINT": faulty.url}, check=False
    )
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert says in said
    assert "Try:" in said
    assert ever(region) == before
    assert json.loads(region.run("llm-atc", "status", "--json").stdout) == []


def test_a_quota_that_is_too_small_is_refused_and_no_machine_was_ever_started(
    region: SimulatedRegion, faulty: Hub
) -> None:
    before = ever(region)
    words = ("org/good", *L4, *ON_AWS, "-c", "refused", "--yes")
    with region.faults(quotas=(("L-417A185B", 0.0),)):  # the code that the region's table has for g6.xlarge
        done = region.run("llm-atc", "serve", *words, env={"HF_ENDPOINT": faulty.url}, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert "may run 0 vCPUs of this kind in us-east-2, and g6.xlarge takes 4." in said
    assert "Try: aws service-quotas request-service-quota-increase" in said
    assert ever(region) == before


def test_the_disk_is_looked_at(region: SimulatedRegion, faulty: Hub) -> None:

    words = ("org/good", *L4, *ON_AWS, "--disk-size", "60", "--json")
    done = region.run("llm-atc", "plan", *words, env={"HF_ENDPOINT": faulty.url})
    (disk,) = (one for one in json.loads(done.stdout)["checks"] if one["check"] == "disk")
    assert disk["verdict"] == "ok"
    assert "on a disk of 60 GiB" in disk["says"]


def test_the_doctor_finds_the_region_well(region: SimulatedRegion, faulty: Hub) -> None:
    done = region.run("llm-atc", "doctor", "--json", env={"HF_ENDPOINT": faulty.url})
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert found["api server"]["verdict"] == found["skypilot"]["verdict"] == "ok"
    assert found["clouds"]["says"] == "Enabled: aws, gcp."
