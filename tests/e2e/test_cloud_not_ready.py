"""A user who has SkyPilot and no cloud: told so in a sentence, before anything is tried."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.make_tiny_model import make
from tests.cloud.network import free_port
from tests.offline import llm_atc, offline_environment

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A home with the catalogue, a SkyPilot of its own, and no credentials for anything."""
    environment = offline_environment(tmp_path_factory.mktemp("home")) | {
        "SKYPILOT_API_SERVER_LOCAL_PORT": str(free_port()),
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_GCE_CHECK": "true",
    }
    yield environment
    subprocess.run(["sky", "api", "stop"], env=environment, stdout=subprocess.DEVNULL, check=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model; no machine will ever load it."""
    return make(tmp_path / "model")


@pytest.mark.parametrize(
    ("cloud", "message", "hint"),
    [
        (("--cloud", "aws"), "aws is not enabled in SkyPilot: its credentials are missing", "sky check aws"),
        ((), "No cloud is enabled in SkyPilot", "sky check"),
    ],
)
def test_a_cloud_without_credentials_is_told(
    user: dict[str, str], model: Path, cloud: tuple[str, ...], message: str, hint: str
) -> None:
    words = ("serve", "--name", str(model), "-c", "never", "--accelerator", "V100:1", *cloud)
    done = llm_atc(user, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert hint in done.stderr
    assert json.loads(llm_atc(user, "status", "--json").stdout) == []
