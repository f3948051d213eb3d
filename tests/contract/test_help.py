"""Commands are quick because they load little; `benchmarks/cli.py` measures what they take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.offline import offline_environment

HEAVY = ("sky", "boto3", "fastapi", "torch", "httpx", "huggingface_hub", "pydantic", "yaml", "rich")
SHOWN = [("--help",), ("serve", "--help"), ("checkpoints", "--help"), ("engines", "list", "--help")]
# What a model of this machine has no use for, planned or served: clouds, the hub, and other commands.
NOT_FOR_HERE = (
    *(name for name in HEAVY if name != "rich"),
    *("asyncio", "llm_atc.cli.chat", "llm_atc.cli.download", "llm_atc.doctor", "llm_atc.render.task"),
    *("llm_atc.targets.sky_vm", "llm_atc.targets.sky_catalog", "llm_atc.sources.huggingface"),
)
NOT_FOR_A_PLAN_HERE = (
    *NOT_FOR_HERE,
    "http.client",
    "psutil",
    "ssl",
    "llm_atc.probe",
    "llm_atc.targets.local",
)


def loaded(words: tuple[str, ...], of: tuple[str, ...], environment: dict[str, str] | None = None) -> str:
    """The last line that a command says: which of these modules it has loaded, by the end."""
    code = (
        "import sys; from llm_atc.cli.main import run\n"
        "try: run(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {of!r} if name in sys.modules])"
    )
    argv = [sys.executable, "-c", code, *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("words", SHOWN)
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded(words, HEAVY) == "[]"


def test_the_help_of_one_command_loads_no_other() -> None:
    others = ("llm_atc.cli.chat", "llm_atc.cli.download", "llm_atc.cli.generate")
    assert loaded(("timeline", "--help"), others) == "[]"


def test_a_plan_for_a_model_here_loads_nothing_of_elsewhere(tmp_path: Path, model_directory: Path) -> None:
    words = ("plan", str(model_directory), "--cloud", "local")
    asked = (*NOT_FOR_A_PLAN_HERE, "llm_atc.outlook")
    assert loaded(words, asked, offline_environment(tmp_path)) == "['llm_atc.outlook']"


def test_a_model_here_is_started_and_waited_for_with_nothing_of_elsewhere(
    tmp_path: Path, model_directory: Path
) -> None:
    """With an engine that ends at once."""
    environment = offline_environment(tmp_path) | {"LLM_ATC_VLLM_EXECUTABLE": "false"}
    words = ("serve", str(model_directory), "--cloud", "local", "--yes", "--", "--max-model-len", "64")
    asked = (*NOT_FOR_HERE, "llm_atc.readiness")
    assert loaded(words, asked, environment) == "['llm_atc.readiness']"
    state = tmp_path / ".llm-atc" / "local" / model_directory.name / "state.json"
    assert json.loads(state.read_text())["state"] == "ended"
