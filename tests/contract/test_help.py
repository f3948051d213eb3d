"""Help is instant because it loads nothing heavy; `benchmarks/cli.py` measures what it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("sky", "boto3", "fastapi", "torch", "sqlalchemy", "httpx", "huggingface_hub", "rich")
SHOWN = [("--help",), ("serve", "--help"), ("checkpoints", "--help"), ("engines", "list", "--help")]


@pytest.mark.parametrize("words", SHOWN)
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    code = (
        "import sys; from llm_atc.cli.main import run\n"
        "try: run(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
