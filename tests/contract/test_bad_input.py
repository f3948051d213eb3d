"""What is typed wrong, or cannot be had, is told in a sentence, with the command that helps.

Exit code 2 says that the words were wrong, 1 that something failed; there is never a traceback.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from examples.make_tiny_model import make
from tests.offline import NOBODY, llm_atc, offline_environment

HERE = ("--cloud", "local")
A100 = ("--accelerator", "A100:1")
ON_AWS = ("--accelerator", "V100:1", "--cloud", "aws")
HUB_MODEL = ("serve", "--name", "org/model")
# What is typed, the exit code, what the message says, and what the hint says.
TYPED: dict[str, tuple[tuple[str, ...], int, str, str]] = {
    "unknown cloud": (
        (*HUB_MODEL, *A100, "--cloud", "awz"),
        2,
        "No cloud is called 'awz'. Did you mean 'aws'?",
        "--cloud aws",
    ),
    "region on this machine": ((*HUB_MODEL, *HERE, "--region", "r"), 2, "is this machine", "leave --region"),
    "no accelerators": (
        (*HUB_MODEL, "--accelerator", "A100:0"),
        2,
        "Accelerator 'A100:0': '0' is not a number of accelerators",
        "--accelerator A100:1",
    ),
    "a count in letters": ((*HUB_MODEL, "--accelerator", "A100:x"), 2, "'x' is not a number", "A100:1"),
    "an accelerator that is none": ((*HUB_MODEL, "--accelerator", ":1"), 2, "is not NAME:COUNT", "A100:1"),
    "no accelerator on a cloud": (HUB_MODEL, 1, "say which accelerator", "--accelerator L4:1"),
    "an accelerator here": ((*HUB_MODEL, *HERE, *A100), 2, "--accelerator is for a cloud", "leave"),
    "own model without source": (
        ("serve", "--name", "llm-atc/mine", *A100),
        2,
        "llm-atc/mine is a checkpoint of your own: say where it lies",
        "--source s3://BUCKET/PATH/",
    ),
    "a source that is none": (
        ("serve", "--name", "llm-atc/mine", "--source", "ftp://x/y", *A100),
        2,
        "--source 'ftp://x/y' is not an address",
        "--source s3://BUCKET/PATH/",
    ),
    "a model that is none": (("serve", "--name", "a/b/c", *A100), 2, "neither a repository", "/ or ./ or ~/"),
    "no model": (("serve", *A100), 1, "missing model: Say which model", "--name"),
    "a variable's name": ((*HUB_MODEL, *A100, "--envs", "1A=2"), 2, "--envs '1A' is not", "NAME=VALUE"),
    "a variable without value": (
        (*HUB_MODEL, *A100, "--envs", "NOT_SET"),
        2,
        "--envs NOT_SET: no value was given",
        "export NOT_SET",
    ),
    "an open quote": ((*HUB_MODEL, *A100, "--envs", "A='1 B=2"), 2, "a quote in it is never closed", ""),
    "a reserved variable": (
        (*HUB_MODEL, *A100, "--envs", "PORT=1"),
        2,
        "PORT is a variable that llm-atc",
        "--port",
    ),
    "a cluster's name": (
        (*HUB_MODEL, *A100, "-c", "bad_name_"),
        2,
        "'bad_name_' cannot name a cluster",
        "-c bad_name",
    ),
    "a port": (
        (*HUB_MODEL, *A100, "--port", "80"),
        2,
        "--port 80 is not between 1024 and 65535",
        "--port 8000",
    ),
    "a weak key": (
        (*HUB_MODEL, *A100, "--api-key", "abc"),
        2,
        "An API key has 8 to 256",
        "leave --api-key away",
    ),
    "a key's variable that is not set": (
        (*HUB_MODEL, *A100, "--api-key", "MY_KEY_VARIABLE"),
        1,
        "--api-key names MY_KEY_VARIABLE, and your environment has no MY_KEY_VARIABLE",
        "export MY_KEY_VARIABLE=…",
    ),
    "another model for the engine": (
        (*HUB_MODEL, *A100, "--", "--model", "other"),
        2,
        "--model is not for the engine",
        "--name MODEL before the --",
    ),
    "another revision for the engine": (
        (*HUB_MODEL, *A100, "--revision", "a", "--", "--revision=b"),
        2,
        "--revision is not for the engine",
        "--revision REVISION before the --",
    ),
    "no context": (
        (*HUB_MODEL, *A100, "--max-model-len", "0"),
        2,
        "--max-model-len 0 leaves no room for a token",
        "--max-model-len 4096",
    ),
    "a folder as chat template": (
        (*HUB_MODEL, *A100, "--chat-template", "/"),
        2,
        "--chat-template '/' is no file",
        "",
    ),
    "key and no key": (
        (*HUB_MODEL, *A100, "--api-key", "abcdefgh", "--no-auth"),
        2,
        "contradict each other",
        "leave one away",
    ),
    "an unknown engine": (
        (*HUB_MODEL, *A100, "--backend", "ollama"),
        2,
        "--backend 'ollama' is none of vllm, llama-cpp",
        "--backend vllm",
    ),
    "an unknown flag": (
        (*HUB_MODEL, "--acelerator", "A100:1"),
        2,
        "No such option: --acelerator",
        "--accelerator",
    ),
    "an unknown deployment": (("endpoint", "nope"), 1, "No deployment is called 'nope'", "llm-atc status"),
    "no names": (("down",), 2, "Say which deployments", "llm-atc status"),
    "a directory that is none": (
        ("serve", "--name", "./nothing", *HERE),
        1,
        "There is no directory",
        "OWNER/NAME",
    ),
    "a hub out of reach": ((*HUB_MODEL, *HERE), 1, "The model hub is out of reach", ""),
}


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine that reaches nothing."""
    return offline_environment(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("case", TYPED)
def test_it_is_told_what_is_wrong_and_what_helps(case: str, offline: dict[str, str]) -> None:
    words, code, message, hint = TYPED[case]
    done = llm_atc(offline, *words)
    said = " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (code, ""), said
    assert message in said
    assert hint in said


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model; nothing here loads it."""
    return make(tmp_path / "model")


def test_a_region_of_another_cloud_is_told(offline: dict[str, str], model: Path) -> None:
    done = llm_atc(offline, "serve", "--name", str(model), *ON_AWS, "--region", "us-central1")
    assert done.returncode == 1
    assert "Invalid region 'us-central1'" in done.stderr
    assert "sky gpus list --infra aws" in done.stderr


def test_an_accelerator_that_nobody_sells_is_told_with_the_nearest(
    offline: dict[str, str], model: Path
) -> None:
    done = llm_atc(offline, "serve", "--name", str(model), "--accelerator", "H1000:1", "--cloud", "aws")
    assert done.returncode == 1
    assert "No accelerator is called 'H1000'. Did you mean H100:1?" in done.stderr


def test_a_size_that_is_not_sold_there_is_told_with_the_nearest(offline: dict[str, str], model: Path) -> None:
    words = ("serve", "--name", str(model), "--accelerator", "A100-80GB:2", "--cloud", "aws")
    done = llm_atc(offline, *words, "--region", "us-east-2")
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "aws/us-east-2 does not sell A100-80GB:2. The nearest that is sold: A100-80GB:8 on aws/" in said


def test_a_directory_that_cannot_be_read_as_a_model_is_told(offline: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{not json")
    done = llm_atc(offline, "serve", "--name", str(tmp_path), *HERE)
    assert done.returncode == 1
    assert "config.json" in done.stderr


def test_a_port_that_is_taken_is_told(offline: dict[str, str], model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = llm_atc(offline, "serve", "--name", str(model), *HERE, "--port", port)
    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize("words", [("status",), ("config", "show")])
def test_a_home_that_is_a_file_is_told_with_its_variable(
    offline: dict[str, str], words: tuple[str, ...]
) -> None:
    done = llm_atc(offline | {"LLM_ATC_HOME": "/dev/null"}, *words)
    assert done.returncode == 1
    assert "environment: LLM_ATC_HOME names /dev/null, which is no directory." in done.stderr
    assert "export LLM_ATC_HOME=" in done.stderr


def test_an_api_server_out_of_reach_is_told(offline: dict[str, str], model: Path) -> None:
    away = offline | {"SKYPILOT_API_SERVER_ENDPOINT": NOBODY}
    done = llm_atc(away, "serve", "--name", str(model), *ON_AWS)
    assert done.returncode == 1
    assert "SkyPilot's API server does not answer" in done.stderr
    assert "sky api" in done.stderr
