"""A world of fakes; and properties are judged by what they find, not by how fast a busy machine finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes import Fakes

settings.register_profile("llm-atc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llm-atc")


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(folder=tmp_path)
