"""Properties are judged by what they find, not by how fast a busy machine finds it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("llm-atc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llm-atc")
