"""From a hub to answers on this machine, with both engines: configure, download, generate, chat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.make_tiny_gguf import make as make_gguf
from examples.make_tiny_model import make
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import llama_cpp, vllm
from tests.fakes import FakeReporter
from tests.hub import Hub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME, WHOLE = "org/tiny-GGUF", "org/tiny"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one model twice: for vLLM, and in two quantizations for llama.cpp."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("hub")
    make(made)
    make_gguf(made, folder / "tiny-F16.gguf")
    (folder / "tiny-F32.gguf").write_bytes((folder / "tiny-F16.gguf").read_bytes() + b"\0" * 64)
    with Hub({NAME: folder, WHOLE: made}) as running:
        yield running


@pytest.fixture(scope="module")
def user(
    tmp_path_factory: pytest.TempPathFactory, engines_home: Path, real_engines: EnginesHere, hub: Hub
) -> Iterator[dict[str, str]]:
    """A user's environment, with a home of its own and the engines that the tests share."""
    for pin in (llama_cpp.PIN, vllm.CPU_PIN):
        real_engines.ensure(pin, FakeReporter())
    home = tmp_path_factory.mktemp("user")
    (home / ".llm-atc").mkdir()
    (home / ".llm-atc" / "engines").symlink_to(engines_home / "engines")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LLM_ATC_", "OPENAI_", "HF_"))
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = kept | {"HOME": str(home), "PATH": path, "HF_ENDPOINT": hub.url}
    yield environment
    run(environment, "down", "--all", "--yes")


def run(environment: dict[str, str], *words: str | Path, code: int = 0, said: str = "") -> str:
    """What the command printed as data, with this on stdin; it must end with this code."""
    done = subprocess.run(
        ["llm-atc", *words],
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_what_was_downloaded_is_served_and_answers_a_file_of_requests(
    user: dict[str, str], hub: Hub, tmp_path: Path
) -> None:
    run(user, "config", "init", "--force")
    path = run(user, "download", f"{NAME}:F16").strip()
    hub.sent = 0
    words = ("serve", f"{NAME}:F16", "--revision", "main", "-c", "tiny", "--cloud", "local", "--json")
    assert json.loads(run(user, *words))["model"] == f"{NAME}:F16"
    assert hub.sent < Path(path).stat().st_size, "only its head was read again"
    (tmp_path / "in.jsonl").write_text("".join(f'{{"prompt": "Count: {n}"}}\n' for n in range(20)))
    files = ("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    run(user, "generate", "tiny", *files, "--max-tokens", "4", "--temperature", "0")
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len({answer["custom_id"] for answer in answers}) == 20
    for answer in answers:
        assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
        assert answer["response"]["body"]["usage"]["completion_tokens"] <= 4
    (listed,) = json.loads(run(user, "models", "--json"))
    assert (listed["name"], listed["engine"], listed["used_by"]) == (f"{NAME}:F16", "llama-cpp", ["tiny"])
    assert "is used by tiny" in run(user, "models", "remove", f"{NAME}:F16", code=1)
    assert run(user, "chat", "tiny", "--max-tokens", "4", said="Hello").strip()
    run(user, "down", "tiny", "--yes")
    run(user, "models", "remove", NAME)
    assert not Path(path).exists()


def test_from_a_first_configuration_to_a_chat_with_vllm(
    user: dict[str, str], hub: Hub, tmp_path: Path
) -> None:
    config = Path(run(user, "config", "path").strip())
    run(user, "config", "init", "--force")
    run(user, "config", "set", "generation.max_tokens", "3")
    assert "max_tokens: 3" in config.read_text()
    path = run(user, "download", WHOLE).strip()
    assert (Path(path) / "model.safetensors").exists()
    hub.sent = 0
    words = ("serve", WHOLE, "-c", "whole", "--cloud", "local", "--max-model-len", "256", "--json")
    assert json.loads(run(user, *words))["engine"] == f"vllm {vllm.CPU_PIN.version}"
    assert hub.sent < (Path(path) / "model.safetensors").stat().st_size, "no weights were fetched again"
    (tmp_path / "in.jsonl").write_text('{"prompt": "Count: 1"}\n"Hello"\n')
    files = ("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    run(user, "generate", "whole", *files)
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [one["response"]["body"]["usage"]["completion_tokens"] <= 3 for one in answers] == [True, True]
    facts = json.loads(run(user, "chat", "whole", "--json", said="Hello"))
    assert facts["usage"]["completion_tokens"] <= 3
    run(user, "down", "whole", "--yes")
    config.unlink()


def test_a_file_of_requests_serves_its_model_and_takes_it_down_again(
    user: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('"Hello"\n')
    files = ("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    run(user, "generate", f"{NAME}:F16", "--serve", *files, "--max-tokens", "4")
    (answer,) = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert answer["response"]["status_code"] == 200
    assert json.loads(run(user, "status", "--json")) == []
