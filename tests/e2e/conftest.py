"""What the end-to-end tests on the simulated region share: a small model, and a hub that both sides reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.make_tiny_model import make
from tests.cloud.client import SimulatedRegion
from tests.hub import Hub

OPEN, GATED = "lmsys/vicuna-13b-v1.3", "meta-llama/Llama-2-7b-chat-hf"
TOKEN = "hf_aTokenThatMustNotBeSeen"  # made up


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of eight megabytes that vLLM serves."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    make(folder)
    return folder


@pytest.fixture(scope="session")
def hub(region: SimulatedRegion, tiny_model: Path) -> Iterator[Hub]:
    """A model hub under real models' names, one of them gated, which the region's machines reach too."""
    with Hub({OPEN: tiny_model, GATED: tiny_model}, gated={GATED: TOKEN}) as running:
        region.expose(running.port)
        yield running
