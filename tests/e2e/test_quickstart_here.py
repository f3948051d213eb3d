"""What a newcomer does first: the quickstart, the examples against it, an embedding model, and down again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from examples.make_tiny_gguf import make as make_gguf
from examples.make_tiny_model import make
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import llama_cpp, vllm
from tests.fakes import FakeReporter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EXAMPLES = Path(__file__).parents[2] / "examples"
SEVERAL = "sk-the-first-of-two,sk-the-second-of-two"


@pytest.fixture(scope="module")
def user(
    tmp_path_factory: pytest.TempPathFactory, engines_home: Path, real_engines: EnginesHere
) -> Iterator[dict[str, str]]:
    """A user's environment, with a home of its own and the engines that the tests share."""
    for pin in (vllm.CPU_PIN, llama_cpp.PIN):
        real_engines.ensure(pin, FakeReporter())
    home = tmp_path_factory.mktemp("user")
    (home / ".llm-atc").mkdir()
    (home / ".llm-atc" / "engines").symlink_to(engines_home / "engines")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_ATC_", "OPENAI_"))}
    environment = kept | {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    yield environment
    run(environment, "llm-atc", "down", "--all", "--yes")


def run(environment: dict[str, str], *words: str | Path, code: int = 0) -> str:
    """What a command printed as data; it must end with this code."""
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def quickstart(user: dict[str, str]) -> str:
    """What the quickstart printed."""
    return run(user, sys.executable, EXAMPLES / "quickstart.py")


def test_the_quickstart_serves_a_model_streams_its_answer_and_says_how_to_stop_it(quickstart: str) -> None:
    answer = quickstart.partition("Model: ")[2].partition("\n\n")[0]
    assert answer.strip()
    assert "Stop it:   llm-atc stop quickstart" in quickstart
    assert "Next:      llm-atc serve --name Qwen/Qwen3-0.6B --cloud local" in quickstart


@pytest.mark.parametrize("example", ["curl.sh", "openai_chat.py", "openai_stream.py", "langchain_chat.py"])
def test_an_example_prints_an_answer(user: dict[str, str], quickstart: str, example: str) -> None:
    shell = 'eval "$(llm-atc endpoint quickstart --env)" && exec "$0" "$1"'
    program = "sh" if example.endswith(".sh") else sys.executable
    assert run(user, "sh", "-c", shell, program, EXAMPLES / example).strip()


def test_an_example_fails_where_its_key_is_refused(user: dict[str, str], quickstart: str) -> None:
    shell = 'eval "$(llm-atc endpoint quickstart --env)" && OPENAI_API_KEY=wrong exec "$0" "$1"'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, EXAMPLES / "openai_chat.py"], env=user, capture_output=True
    )
    assert done.returncode != 0


def test_a_second_model_gets_the_next_port_and_two_keys(
    user: dict[str, str], quickstart: str, tmp_path: Path
) -> None:
    """An embedding model this time: ready means one embedding."""
    make(tmp_path / "embed", embed=True)
    words = ("serve", "--name", str(tmp_path / "embed"), "-c", "embed", "--cloud", "local", "--yes", "--json")
    status = json.loads(
        run(user | {"MY_KEYS": SEVERAL}, "llm-atc", *words, "--api-key", "MY_KEYS", "--", "--enforce-eager")
    )
    first = json.loads(run(user, "llm-atc", "endpoint", "quickstart", "--json"))
    assert (status["state"], status["endpoint"] != first["endpoint"]) == ("ready", True)
    for key in SEVERAL.split(","):
        with openai.OpenAI(base_url=f"{status['endpoint']}/v1", api_key=key, timeout=60) as client:
            found = client.embeddings.create(model="embed", input=["Hello", "world"]).data
            assert [len(one.embedding) for one in found] == [128, 128]
    assert "sk-the-" not in run(user, "llm-atc", "logs", "embed")


def test_a_gguf_model_without_a_key_answers_a_bare_request(user: dict[str, str], tmp_path: Path) -> None:
    make(tmp_path / "tiny")
    make_gguf(tmp_path / "tiny", tmp_path / "tiny.gguf")
    words = ("serve", str(tmp_path / "tiny.gguf"), "-c", "open", "--cloud", "local", "--no-auth")
    assert "--yes" in run(user, "llm-atc", *words, code=1)
    status = json.loads(run(user, "llm-atc", *words, "--yes", "--json"))
    assert status["engine"] == f"llama-cpp {llama_cpp.PIN.version}"
    models = json.loads(run(user, "curl", "-sf", f"{status['endpoint']}/v1/models"))
    assert [model["id"] for model in models["data"]] == ["tiny.gguf"]
    run(user, "llm-atc", "down", "open", "--yes")


def test_stop_start_and_down_on_this_machine(user: dict[str, str], quickstart: str) -> None:
    before = json.loads(run(user, "llm-atc", "endpoint", "quickstart", "--json"))
    run(user, "llm-atc", "stop", "quickstart")
    assert "it is not running" in run(user, "llm-atc", "endpoint", "quickstart", code=1)
    run(user, "llm-atc", "start", "quickstart")
    after = json.loads(run(user, "llm-atc", "endpoint", "quickstart", "--json"))
    assert after["api_key"] == before["api_key"]
    run(user, "llm-atc", "down", "--all", "--yes")
    assert json.loads(run(user, "llm-atc", "status", "--json")) == []
    assert list(Path(user["HOME"], ".llm-atc", "local").iterdir()) == []
