"""Whether SkyPilot is ready: its version, its API server, and the clouds that it may use."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from llm_atc.plan.preflight import Finding, broken, ok, warning
from llm_atc.targets.sky_client import sky_quiet

# As pyproject.toml pins it; a test compares the two.
VERSION = "0.14.1"


def skypilot() -> Iterator[Finding]:
    """Findings on SkyPilot. Starts its API server where none runs, as each of its commands does.

    Raises CloudError's kinds when the server does not answer.
    """
    try:
        version = importlib.metadata.version("skypilot")
    except importlib.metadata.PackageNotFoundError:
        yield broken("skypilot", "SkyPilot is not installed.", f"pip install 'skypilot[aws,gcp]=={VERSION}'")
        return
    if version == VERSION:
        yield ok("skypilot", f"SkyPilot {version} is installed.")
    else:
        cure = f"pip install 'skypilot[aws,gcp]=={VERSION}'"
        yield broken("skypilot", f"SkyPilot {version} is installed, and llm-atc is made for {VERSION}.", cure)
    with sky_quiet() as sky:
        from sky.client import sdk

        enabled = sorted(str(name).lower() for name in sky.get(sdk.enabled_clouds()))  # starts the server
        yield ok("api server", f"SkyPilot's API server answers, version {sdk.api_info().version}.")
    if enabled:
        yield ok("clouds", f"Enabled: {', '.join(enabled)}.")
    else:
        yield warning("clouds", "No cloud is enabled: only this machine can be used.", "sky check")
