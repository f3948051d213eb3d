"""`llm-atc plan`, and what `serve` refuses on this machine before any process of an engine exists."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import make_tiny_gguf
from examples.make_tiny_model import make
from tests.hub import Hub
from tests.offline import llm_atc, offline_environment

HERE = ("--cloud", "local")
ON_AWS = ("--accelerator", "L4:1", "--cloud", "aws")
TOKEN = "hf_aTokenThatMustNotBeSeen"  # made up


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model, and copies of it with one fault each."""
    root = tmp_path_factory.mktemp("models")
    good = make(root / "good")
    make_tiny_gguf.make(good, root / "good.gguf")

    def copy(name: str, change: Callable[[Path], object]) -> None:
        shutil.copytree(good, root / name)
        change(root / name)

    def rewrite(file: str, **changes: object) -> Callable[[Path], object]:
        def change(folder: Path) -> None:
            found = json.loads((folder / file).read_text()) | changes
            kept = {name: value for name, value in found.items() if value is not None}
            (folder / file).write_text(json.dumps(kept))

        return change

    def cut(folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])

    copy("martian", rewrite("config.json", architectures=["MartianForCausalLM"], model_type="martian"))
    copy("awq", rewrite("config.json", quantization_config={"quant_method": "awq", "bits": 4}))
    copy("mute", rewrite("tokenizer_config.json", chat_template=None))
    copy("cut", cut)
    copy("wordless", lambda folder: [path.unlink() for path in folder.glob("tokenizer*")])
    copy("empty", lambda folder: (folder / "model.safetensors").unlink())
    (root / "cut.gguf").write_bytes((root / "good.gguf").read_bytes()[:-100])
    return root


@pytest.fixture(scope="module")
def environment(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A home with a catalogue, and a hub that has the good model, gated too."""
    home = tmp_path_factory.mktemp("home")
    good = models / "good"
    with Hub({"org/good": good, "org/gated": good}, gated={"org/gated": TOKEN}) as hub:
        yield offline_environment(home) | {"HF_ENDPOINT": hub.url}


def plan(environment: dict[str, str], *words: str, code: int = 0) -> dict[str, Any]:
    done = llm_atc(environment, "plan", *words[:1], "--json", *words[1:])
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {one["check"]: one["verdict"] for one in found["checks"]}


def test_everything_is_told_of_a_model_that_starts(environment: dict[str, str]) -> None:
    found = plan(environment, "org/good", *HERE, "--max-model-len", "512", "--api-key", "a-secret-key")
    assert found["starts"] is True
    assert found["because"] == []
    assert "refused" not in verdicts(found).values()
    model = found["model"]
    assert (model["architecture"], model["context"], model["chat_template"]) == (
        "LlamaForCausalLM",
        2048,
        True,
    )
    assert found["engine"]["version"] == "0.32.0"
    settings = {one["setting"]: (one["value"], one["source"]) for one in found["settings"]}
    assert settings["cloud.name"] == ("local", "command line")
    assert settings["server.api_key"] == ("(hidden)", "command line")
    assert found["download"]["bytes"] == model["bytes"]
    assert "key" in found["protection"]


def test_people_get_lines_and_the_task_on_demand(environment: dict[str, str], models: Path) -> None:
    done = llm_atc(environment, "plan", str(models / "good"), *ON_AWS, "--yaml", "--bandwidth", "10")
    assert done.returncode == 0, done.stdout
    assert "will start" in done.stdout
    assert "at 10 Gbit/s" in done.stdout
    assert "aws sells L4:1." in done.stdout
    assert "\nresources:\n" in done.stdout


def test_prices_that_were_read_are_told(environment: dict[str, str], models: Path) -> None:
    llm_atc(environment, "accelerators", "L4", "--cloud", "aws")
    found = plan(environment, str(models / "good"), *ON_AWS)
    assert {one["accelerator"] for one in found["offers"]} == {"L4"}
    assert found["prices_age"] is not None
    assert found["fit"][0]["fits"] is True


# The model, further words, the check that refuses, and what it says.
FAULTS: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "absent repository": ("org/none", (), "model", "No model 'org/none' on the hub"),
    "gated repository": ("org/gated", (), "model", "org/gated is gated: it needs a token."),
    "bad revision": ("org/good@v9", (), "model", "has no revision 'v9'"),
    "absent directory": ("./none", (), "model", "There is no directory"),
    "context too long": ("DIR/good", ("--max-model-len", "4096"), "context", "made for 2048"),
    "wrong format": ("DIR/good.gguf", ("--backend", "vllm"), "model", "vllm cannot load"),
    "no weights": ("DIR/empty", (), "model", "no weights"),
    "missing tokenizer": ("DIR/wordless", (), "tokenizer", "No tokenizer lies beside"),
    "unknown architecture": ("DIR/martian", (), "architecture", "does not know the architecture"),
    "truncated file": ("DIR/cut", (), "model", "it is cut short"),
    "truncated GGUF file": ("DIR/cut.gguf", (), "model", "it is cut short"),
    "quantization mismatch": ("DIR/awq", ("--quantization", "gptq"), "quantization", "quantized by awq"),
    "more processes than this machine has GPUs or NUMA nodes for": (
        "DIR/good",
        ("--backend", "vllm", "--backend-args", "--tensor-parallel-size 99"),
        "parallel",
        "99 processes are asked for",
    ),
    "port taken": ("DIR/good", ("--port", "PORT"), "port", "is taken"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_it_is_refused_before_any_engine_exists(case: str, environment: dict[str, str], models: Path) -> None:
    model, more, check, says = FAULTS[case]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = (model.replace("DIR", str(models)), *HERE, *(word.replace("PORT", port) for word in more))
        served = llm_atc(environment, "serve", *words, "--yes")
        planned = llm_atc(environment, "plan", "--json", *words)
    said = " ".join(served.stderr.split())
    assert served.returncode == 1, said
    assert says in said
    assert "Try:" in said
    home = Path(environment["HOME"]) / ".llm-atc"
    assert not (home / "engines").exists(), "no engine was installed, so none was started"
    assert json.loads(llm_atc(environment, "status", "--json").stdout) == []
    assert planned.returncode == 1
    if planned.stdout:
        refused = {one["check"]: one["says"] for one in json.loads(planned.stdout)["checks"] if one["cure"]}
        assert says in refused[check]


def test_heads_that_do_not_divide_are_refused_too(environment: dict[str, str], models: Path) -> None:
    words = ("--backend", "vllm", "--backend-args", "--tensor-parallel-size 3")
    planned = llm_atc(environment, "plan", "--json", str(models / "good"), *HERE, *words)
    assert planned.returncode == 1
    says = [one["says"] for one in json.loads(planned.stdout)["checks"] if one["check"] == "parallel"]
    assert any("cannot be shared by 3 GPUs" in said for said in says)


def test_a_missing_chat_template_is_a_warning(environment: dict[str, str], models: Path) -> None:
    found = plan(environment, str(models / "mute"), *HERE)
    assert found["starts"] is True
    assert verdicts(found)["chat"] == "warning"


def test_a_dry_run_renders_what_is_refused_and_says_so(environment: dict[str, str], models: Path) -> None:
    done = llm_atc(environment, "serve", str(models / "wordless"), *ON_AWS, "--dry-run")
    assert done.returncode == 0
    assert "No tokenizer lies beside" in done.stderr
    assert "resources:" in done.stdout


def test_a_dry_run_prints_the_task_or_the_command_as_json(environment: dict[str, str], models: Path) -> None:
    good = str(models / "good")
    variables = ("-e", "A=b c", "--secret", "T=a-secret-value")
    for where in (HERE, ON_AWS):
        text = llm_atc(environment, "serve", good, *where, *variables, "--dry-run").stdout
        done = llm_atc(environment, "serve", good, *where, *variables, "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        assert "a-secret-value" not in done.stdout
        found = json.loads(done.stdout)
        if where is ON_AWS:
            assert found == {"task": yaml.safe_load(text)}
        else:
            assert shlex.join(found["command"]) in text
            assert found["command"][:3] == ["vllm", "serve", good]
            assert found["env"].items() >= {"A": "b c"}.items()
            assert found["secrets"] == ["T", "VLLM_API_KEY"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*HERE, "--json"), "stays in this terminal"),
        ((*HERE, "--detach-run"), "stays in this terminal"),
        ((*HERE, "--detach-setup"), "stays in this terminal"),
        (ON_AWS, "is for this machine"),
    ],
)
def test_a_dry_run_refuses_what_serve_refuses(
    environment: dict[str, str], models: Path, words: tuple[str, ...], says: str
) -> None:
    serve = ("serve", str(models / "good"), "--foreground", *words)
    for dry in ((), ("--dry-run",)):
        done = llm_atc(environment, *serve, *dry)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr


def test_a_dry_run_names_the_folder_of_this_machine(environment: dict[str, str]) -> None:
    source = ("--name", "llm-atc/x", "--source", "s3://my-bucket/x")
    done = llm_atc(environment, "serve", *source, *HERE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"vllm serve {environment['HOME']}/.llm-atc/models/x-" in done.stdout


def test_a_plan_loads_no_skypilot_while_the_catalogue_is_kept(
    environment: dict[str, str], models: Path
) -> None:
    llm_atc(environment, "accelerators", "L4", "--cloud", "aws")
    program = (
        "import sys\n"
        "from llm_atc.cli.main import run\n"
        "try:\n"
        "    run(sys.argv[1:])\n"
        "finally:\n"
        "    print('sky' in sys.modules, file=sys.stderr)\n"
    )
    words = ("plan", str(models / "good"), *ON_AWS)
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("Verdict"), done.stderr
    assert done.stderr.splitlines()[-1] == "False"


def test_the_doctor_finds_what_is_broken_in_the_set_up(environment: dict[str, str]) -> None:
    away = environment | {
        "SKYPILOT_API_SERVER_ENDPOINT": "http://127.0.0.1:9",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    done = llm_atc(away, "doctor", "--json")
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1
    broken = {name for name, one in found.items() if one["verdict"] == "broken"}
    assert broken == {"skypilot", "hub"}
    assert "SkyPilot's API server does not answer" in found["skypilot"]["says"]
    assert found["hub"]["cure"].startswith("curl ")
    assert {"config", "engine", "disk", "port", "s3"} <= found.keys()


def test_the_doctor_does_not_know_a_deployment_that_is_none(environment: dict[str, str]) -> None:
    done = llm_atc(environment, "doctor", "nope")
    assert done.returncode == 1
    assert "No deployment is called 'nope'" in done.stderr
