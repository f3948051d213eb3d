"""The README's commands for models of the hub, launched on the simulated region as they stand there.

Tests of one class are about one machine, which goes from model to model in the order in which they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from examples.make_tiny_gguf import make as make_gguf
from tests.cloud.client import SimulatedRegion
from tests.e2e.conftest import GATED, OPEN, TOKEN
from tests.hub import Hub

pytestmark = [pytest.mark.timeout(1200)]

NAME = "servecluster"
ON_GCP = ("--accelerator", "A100:1", "-c", NAME, "--cloud", "gcp", "--region", "asia-southeast1")
ON_AWS = ("-c", NAME, "--cloud", "aws", "--region", "us-east-2")
CACHE = ("--cache", "s3://kept/models")
TOKEN_GIVEN = ("--envs", f"HF_TOKEN={TOKEN}")


@pytest.fixture(autouse=True, scope="class")
def nothing_left(region: SimulatedRegion) -> Iterator[None]:
    """Whatever a test, or a class of them, leaves is removed by llm-atc's own command."""
    yield
    region.run("llm-atc", "down", "--all", "--yes", check=False)
    assert region.instances() == ()


def serve(region: SimulatedRegion, *words: str, hub: Hub | None = None) -> str:
    """Serve, and return what the model answers at the address and with the key of the line to try.

    The stand-in hub's address is given on both sides.
    """
    there, here = (("-e", f"HF_ENDPOINT={hub.url}"), {"HF_ENDPOINT": hub.url}) if hub else ((), {})
    served = region.run("llm-atc", "serve", *words, *there, "--yes", env=here, timeout=600).stdout
    landed = re.search(r"curl (\S+)/models -H \"Authorization: Bearer (\S+)\"", served)
    assert landed is not None, served
    with openai.OpenAI(base_url=landed[1], api_key=landed[2], timeout=60) as client:
        (model,) = client.models.list()
        return client.completions.create(model=model.id, prompt="Hello", max_tokens=4).choices[0].text


def status(region: SimulatedRegion) -> dict[str, Any]:
    (found,) = json.loads(region.run("llm-atc", "status", "--json").stdout)
    assert isinstance(found, dict)
    return found


def downloads(hub: Hub) -> list[str]:
    """The weight files whose download was begun. llm-atc itself reads their first bytes, with GET alone."""
    return [path for method, path in hub.requests if method == "HEAD" and path.endswith(".safetensors")]


def weights_are_kept(region: SimulatedRegion, hub: Hub, seconds: float = 120) -> list[str]:
    """What the cache lists of the model, once its machine has put it there."""
    key = f"models/weights/models--{OPEN.replace('/', '--')}/{hub.repositories[OPEN].sha}/vllm/complete.json"
    region.s3().get_waiter("object_exists").wait(
        Bucket="kept", Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": int(seconds)}
    )
    listed = json.loads(region.s3().get_object(Bucket="kept", Key=key)["Body"].read())
    assert "model.safetensors" in listed
    return list(listed)


class TestOneMachineOfGcp:
    def test_a_hub_model_comes_up(self, region: SimulatedRegion, hub: Hub) -> None:
        region.s3().create_bucket(Bucket="kept")
        assert serve(region, "--name", OPEN, *ON_GCP, *TOKEN_GIVEN, *CACHE, hub=hub)
        assert downloads(hub) != []
        weights_are_kept(region, hub)
        assert [machine.instance_type for machine in region.instances()] == ["a2-highgpu-1g"]

    def test_a_checkpoint_of_cloud_storage_takes_its_place(
        self, region: SimulatedRegion, tiny_model: Path
    ) -> None:
        before = region.instances()
        region.gcs().create_bucket("checkpoints")
        region.run("llm-atc", "checkpoints", "push", tiny_model, "gs://checkpoints/tiny")
        source = ("--name", "llm-atc/tiny", "--source", "gs://checkpoints/tiny")
        assert serve(region, *source, *ON_GCP)
        assert region.instances() == before

    def test_what_sky_does_to_it_is_noticed(self, region: SimulatedRegion) -> None:
        region.run("sky", "stop", "-y", NAME)
        assert status(region)["state"] == "stopped"

    def test_an_engine_that_cannot_start_there_is_told_with_its_cause_and_what_it_costs(
        self, region: SimulatedRegion, hub: Hub
    ) -> None:
        words = ("llm-atc", "serve", "--name", OPEN, *ON_GCP, "-e", f"HF_ENDPOINT={hub.url}")
        too_long = ("--force", "--yes", "--", "--max-model-len", "999999")
        failed = region.run(*words, *too_long, env={"HF_ENDPOINT": hub.url}, check=False, timeout=900)
        said = failed.stderr
        assert failed.returncode == 1
        assert "The context asked for is longer than the model's own." in said
        assert "The machine of servecluster is still running and costs $" in said
        assert "llm-atc down servecluster" in said
        assert len(said.splitlines()) < 24, said  # one screen
        # It stops by itself within minutes, which may have begun.
        assert status(region)["state"] in ("failed", "stopping", "stopped")

    def test_what_is_done_in_the_clouds_own_console_is_noticed(self, region: SimulatedRegion) -> None:
        region.terminate(region.instances()[0].id)
        assert status(region)["state"] == "gone"


def test_the_next_machine_takes_weights_from_the_cache_and_none_from_the_hub(
    region: SimulatedRegion, hub: Hub
) -> None:
    assert weights_are_kept(region, hub), "by the machine of the tests before"
    hub.requests.clear()
    assert serve(region, "--name", OPEN, "--accelerator", "L4:1", *ON_AWS, *CACHE, hub=hub)
    assert downloads(hub) == []
    log = region.run("llm-atc", "logs", NAME).stdout
    assert "[llm-atc] weights from the cache: " in log
    assert "warning: the cache" not in log


class TestOneMachineWithV100:
    def test_a_gated_model_comes_up_with_the_vllm_that_runs_there(
        self, region: SimulatedRegion, hub: Hub
    ) -> None:
        assert serve(region, "--name", GATED, "--accelerator", "V100:1", *ON_AWS, *TOKEN_GIVEN, hub=hub)
        (machine,) = region.instances()
        assert (machine.instance_type, machine.zone[:-1]) == ("p3.2xlarge", "us-east-2")
        assert status(region)["engine"] == "vllm 0.19.1"

    def test_another_machine_under_its_name_is_refused_and_it_runs_on(
        self, region: SimulatedRegion, hub: Hub
    ) -> None:
        words = ("llm-atc", "serve", "--name", OPEN, "--accelerator", "L4:1", *ON_AWS, "--yes")
        refused = region.run(*words, env={"HF_ENDPOINT": hub.url}, check=False)
        assert refused.returncode == 1
        assert "is another one than asked for: aws/us-east-2 {'V100': 1}" in " ".join(refused.stderr.split())
        kept = status(region)
        assert (kept["state"], kept["model"]) == ("ready", GATED)

    def test_a_gguf_model_of_a_bucket_takes_its_place_with_llama_server(
        self, region: SimulatedRegion, tiny_model: Path, tmp_path: Path
    ) -> None:
        before = region.instances()
        make_gguf(tiny_model, tmp_path / "tiny.gguf")
        region.s3().create_bucket(Bucket="quantized")
        region.run("llm-atc", "checkpoints", "push", tmp_path, "s3://quantized/tiny")
        source = ("--name", "llm-atc/tiny-gguf", "--source", "s3://quantized/tiny")
        assert serve(region, *source, "--accelerator", "V100:1", *ON_AWS)
        assert status(region)["engine"] == "llama-cpp 0.3.36"
        assert region.instances() == before


def test_a_gated_model_without_its_token_is_refused_before_any_machine(
    region: SimulatedRegion, hub: Hub
) -> None:
    words = ("llm-atc", "serve", "--name", GATED, "--accelerator", "V100:1", *ON_AWS)
    refused = region.run(*words, env={"HF_ENDPOINT": hub.url}, check=False)
    assert refused.returncode == 1
    assert "gated" in refused.stderr
    assert region.instances() == ()


def test_what_the_cloud_does_not_sell_is_refused_with_the_nearest(region: SimulatedRegion, hub: Hub) -> None:
    words = ("llm-atc", "serve", "--name", OPEN, "--accelerator", "A100-80GB:2", *ON_AWS)
    refused = region.run(*words, env={"HF_ENDPOINT": hub.url}, check=False)
    assert refused.returncode == 1
    assert "does not sell A100-80GB:2. The nearest that is sold: A100-80GB:8 on aws/" in " ".join(
        refused.stderr.split()
    )
    assert region.instances() == ()
