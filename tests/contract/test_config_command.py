"""Configuration as a user meets it: files that serve, commands that write them, and what ends how."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import llama_cpp
from tests.local_fixtures import Told, eventually, get
from tests.offline import llm_atc, offline_environment
from tests.sky_here import check_schema

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "configs").glob("*.yaml"))
KEY = "sk-from-dotenv-0001"


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """A user with a home, an empty configuration, and no network."""
    return offline_environment(tmp_path)


@pytest.fixture(scope="module")
def shopper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user with a catalogue, who only looks."""
    return offline_environment(tmp_path_factory.mktemp("shopper")) | {"HF_TOKEN": "hf_aTokenNobodySees"}


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A tiny model that llama-server serves."""
    from examples.make_tiny_gguf import make
    from examples.make_tiny_model import make as make_model

    make_model(tmp_path / "tiny")
    make(tmp_path / "tiny", tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


@pytest.fixture
def service_file(tmp_path: Path, gguf: Path) -> Path:
    """One file for both places: this machine and a cloud."""
    path = tmp_path / "serve.yaml"
    path.write_text(
        f"serve:\n  model_path: {gguf}\n  backend: llama-cpp\n  backend_args:\n    threads: 1\n"
        "deployment:\n  name: twice\ncloud:\n  name: aws\n  region: us-east-2\n"
        "resources:\n  accelerators: L4:1\nserver:\n  api_key: MY_KEY\ninference:\n  max_model_len: 256\n"
    )
    return path


@pytest.fixture
def serving(user: dict[str, str], real_engines: EnginesHere) -> Iterator[dict[str, str]]:
    """A user who has llama-server, and whose deployments end with the test."""
    server = real_engines.ensure(llama_cpp.PIN, Told())
    yield user | {"PATH": f"{Path(server).parent}:{user['PATH']}"}
    llm_atc(user, "down", "--all", "--yes")


def test_one_file_serves_here_and_renders_for_a_cloud(serving: dict[str, str], service_file: Path) -> None:
    Path(serving["HOME"], ".env").write_text(f"MY_KEY={KEY}\n")
    rendered = llm_atc(serving, "serve", "--config", str(service_file), "--dry-run")
    assert rendered.returncode == 0, rendered.stderr
    task = yaml.safe_load(rendered.stdout)
    check_schema(task)
    assert "L4" in str(task["resources"])
    assert "us-east-2" in str(task["resources"])
    assert "--threads" in rendered.stdout

    done = llm_atc(serving, "serve", "--config", str(service_file), "--cloud", "local", "--json")
    assert done.returncode == 0, done.stderr
    assert "resources.accelerators is for a cloud, and left out here: " in done.stderr
    assert KEY not in done.stdout + done.stderr + rendered.stdout + rendered.stderr
    status = json.loads(done.stdout)
    assert (status["name"], status["engine"].split()[0]) == ("twice", "llama-cpp")
    address = status["endpoint"].removeprefix("http://")
    assert get(address, "/v1/models", KEY)[0] == 200
    assert get(address, "/v1/models", "sk-another-key")[0] == 401
    assert get(address, "/v1/models", "MY_KEY")[0] == 401


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_render_for_a_cloud(path: Path, shopper: dict[str, str]) -> None:
    done = llm_atc(shopper, "serve", "--config", str(path), "--dry-run")
    assert done.returncode == 0, done.stderr
    task: dict[str, Any] = yaml.safe_load(done.stdout)
    check_schema(task)
    said = yaml.safe_load(path.read_text())
    assert said["model"]["name"] in done.stdout
    wanted = said["resources"]["accelerators"]
    first = wanted[0] if isinstance(wanted, list) else wanted
    assert first.partition(":")[0] in str(task["resources"])
    for option in said.get("serve", {}).get("backend_args", {}):
        assert f"--{option.replace('_', '-')}" in done.stdout
    assert "hf_aTokenNobodySees" not in done.stdout + done.stderr


# Which stage fails, and with which code. Each is a row of docs/exit-codes.md.


def test_a_file_that_cannot_be_read_ends_with_its_place(user: dict[str, str]) -> None:
    Path(user["HOME"], "s.yaml").write_text("server:\n  prot: 8000\n")
    done = llm_atc(user, "serve", "--config", "s.yaml", "--dry-run")
    assert done.returncode == 1
    assert "Error: configuration file: s.yaml:2:3: server has no setting 'prot'." in done.stderr


def test_a_file_that_is_not_there_is_told(user: dict[str, str]) -> None:
    done = llm_atc(user, "serve", "--config", "none.yaml")
    assert (done.returncode, "configuration file: There is no file none.yaml" in done.stderr) == (1, True)


def test_a_variable_that_cannot_be_read_ends_with_its_name(user: dict[str, str]) -> None:
    done = llm_atc(user | {"LLM_ATC_PORT": "x"}, "serve", "--name", "a/b")
    assert done.returncode == 1
    assert "Error: environment: LLM_ATC_PORT: 'x' is not a whole number." in done.stderr


def test_no_model_anywhere_is_a_missing_model(user: dict[str, str]) -> None:
    done = llm_atc(user, "serve", "--cloud", "local")
    assert (done.returncode, "Error: missing model: Say which model." in done.stderr) == (1, True)


def test_a_model_that_is_not_there_is_a_missing_model(user: dict[str, str]) -> None:
    done = llm_atc(user, "serve", "--name", "./none", "--cloud", "local")
    assert (done.returncode, "Error: missing model: There is no directory" in done.stderr) == (1, True)


def test_what_only_the_merged_layers_make_wrong_names_the_one_to_change(user: dict[str, str]) -> None:
    Path(user["HOME"], "s.yaml").write_text("cloud:\n  name: azw\n")
    done = llm_atc(user, "serve", "a/b", "--config", "s.yaml", "--accelerator", "L4:1")
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "Error: merged validation: No cloud is called 'azw'" in said
    assert "(cloud.name stands in s.yaml:2:3.)" in said


def test_the_same_mistake_on_the_command_line_is_its_own(user: dict[str, str]) -> None:
    done = llm_atc(user, "serve", "a/b", "--num-nodes", "0", "--accelerator", "L4:1", "--dry-run")
    assert (done.returncode, "merged validation" in done.stderr) == (2, False)
    done = llm_atc(user | {"LLM_ATC_NUM_NODES": "0"}, "serve", "a/b", "--accelerator", "L4:1", "--dry-run")
    assert done.returncode == 1
    assert "LLM_ATC_NUM_NODES" in done.stderr


def test_an_option_that_the_engine_lacks_names_the_variable_it_comes_from(user: dict[str, str]) -> None:
    said = {"LLM_ATC_BACKEND": "vllm", "LLM_ATC_BACKEND_ARGS": "--max-num-sqs 1"}
    done = llm_atc(user | said, "serve", "a/b", "--accelerator", "L4:1", "--dry-run")
    assert done.returncode == 1
    words = " ".join(done.stderr.split())
    assert "merged validation: vLLM 0.32.0 has no option --max-num-sqs" in words
    assert "(serve.backend_args stands in LLM_ATC_BACKEND_ARGS.)" in words


def test_a_port_that_is_taken_is_a_failure_of_the_start(serving: dict[str, str], service_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("serve", "--config", str(service_file), "--cloud", "local", "--port", port)
        done = llm_atc(serving | {"MY_KEY": KEY}, *words)
    assert (done.returncode, f"Error: start-up: Port {port} is taken" in done.stderr) == (1, True)


def test_ctrl_c_on_a_server_in_the_foreground_is_what_was_wanted(
    serving: dict[str, str], service_file: Path
) -> None:
    words = ["llm-atc", "serve", "--config", str(service_file), "--cloud", "local", "--foreground"]
    with subprocess.Popen(
        words,
        env=serving | {"MY_KEY": KEY, "LLM_ATC_PORT": "21977"},
        cwd=serving["HOME"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        try:
            eventually(lambda: get("127.0.0.1:21977")[0] == 200 or running.poll() is not None, within=60)
            os.killpg(running.pid, signal.SIGINT)
            _, said = running.communicate(timeout=60)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, said.decode()


def test_any_other_ctrl_c_ends_with_130(user: dict[str, str], tmp_path: Path) -> None:
    waiting = tmp_path / "editor"
    waiting.write_text("#!/bin/sh\necho up > started\nsleep 60\n")
    waiting.chmod(0o755)
    with subprocess.Popen(
        ["llm-atc", "config", "edit"],
        env=user | {"EDITOR": str(waiting)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        eventually((tmp_path / "started").exists)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said.decode()


# The user's own file.


def test_init_set_show_and_path_work_together(user: dict[str, str]) -> None:
    path = Path(llm_atc(user, "config", "path").stdout.strip())
    assert path == Path(user["HOME"], ".config/llm-atc/config.yaml")
    assert llm_atc(user, "config", "init").stdout.strip() == str(path)
    written = path.read_text()
    assert "no NVIDIA GPU" in written or "NVIDIA" in written
    again = llm_atc(user, "config", "init")
    assert (again.returncode, path.read_text()) == (1, written)
    assert "config.yaml is there already." in " ".join(again.stderr.split())

    assert llm_atc(user, "config", "set", "inference.gpu_memory", "0.7").returncode == 0
    changed = path.read_text().splitlines()
    assert [line for line in changed if line not in written.splitlines()] == ["  gpu_memory: 0.7"]
    refused = llm_atc(user, "config", "set", "inference.gpu_memory", "7")
    assert (refused.returncode, path.read_text().splitlines()) == (2, changed)

    facts = json.loads(llm_atc(user, "config", "show", "--json", "--cloud", "gcp").stdout)
    assert facts["inference.gpu_memory"]["value"] == 0.7
    assert facts["inference.gpu_memory"]["source"] == "user config"
    assert facts["cloud.name"] == {"value": "gcp", "source": "command line", "place": None}
    people = llm_atc(user, "config", "show").stdout
    assert [line.split()[:4] for line in people.splitlines() if "gpu_memory" in line] == [
        ["inference.gpu_memory", "0.7", "user", "config"]
    ]

    assert llm_atc(user, "config", "init", "--force").returncode == 0
    assert path.with_name("config.yaml.bak").read_text().splitlines() == changed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_variable_moves_the_file_and_one_that_is_absent_is_told(user: dict[str, str]) -> None:
    moved = user | {"LLM_ATC_CONFIG": f"{user['HOME']}/mine.yaml"}
    done = llm_atc(moved, "config", "show")
    assert (done.returncode, "LLM_ATC_CONFIG names" in done.stderr) == (1, True)
    assert llm_atc(moved, "config", "set", "model.name", "a/b").returncode == 0
    assert Path(moved["LLM_ATC_CONFIG"]).read_text() == "model:\n  name: a/b\n"


def test_edit_checks_what_was_written(user: dict[str, str], tmp_path: Path) -> None:
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\necho "$1" > "$2"\n')
    editor.chmod(0o755)
    good = llm_atc(user | {"VISUAL": f"'{editor}' 'model: a/b'"}, "config", "edit")
    assert (good.returncode, good.stderr) == (0, "")
    bad = llm_atc(user | {"EDITOR": f"'{editor}' 'modl: a/b'"}, "config", "edit")
    assert bad.returncode == 1
    assert "config.yaml:1:1: There is no section 'modl'. Did you mean model?" in " ".join(bad.stderr.split())


def test_show_gives_no_secret_away(user: dict[str, str]) -> None:
    words = ("--secret", "HF_TOKEN=hf_hidden", "--api-key", "sk-hidden00", "--env", "DB_PASSWORD=hidden it")
    for form in ((), ("--json",)):
        done = llm_atc(user | {"LLM_ATC_BACKEND_ARGS": "--api-key hidden"}, "config", "show", *words, *form)
        assert done.returncode == 0
        assert "hidden" not in done.stdout + done.stderr
        assert "HF_TOKEN" in done.stdout


def test_a_variable_that_is_almost_one_is_told(user: dict[str, str]) -> None:
    done = llm_atc(user | {"LLM_ATC_GPU_MEMRY": "0.5"}, "config", "show")
    assert done.returncode == 0
    assert "did you mean LLM_ATC_GPU_MEMORY?" in done.stderr


def test_schema_prints_what_editors_read(user: dict[str, str]) -> None:
    assert json.loads(llm_atc(user, "config", "schema").stdout)["properties"]["server"]
