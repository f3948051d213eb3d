"""A user's environment with a catalogue of machines, and without hub, bucket, credentials and network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cloud.catalog import write_catalog

NOBODY = "http://127.0.0.1:9"


def offline_environment(home: Path) -> dict[str, str]:
    """Variables for a subprocess whose HOME this becomes; nothing of the real user's is in them."""
    write_catalog(home)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "HF_ENDPOINT": NOBODY,
        "AWS_ENDPOINT_URL": NOBODY,
        "STORAGE_EMULATOR_HOST": NOBODY,
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }


def llm_atc(environment: dict[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run llm-atc as a user would, and fail on a traceback, whatever else it says."""
    done = subprocess.run(
        ["llm-atc", *words],
        env=environment,
        cwd=environment["HOME"],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
