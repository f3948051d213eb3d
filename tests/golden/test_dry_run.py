"""Every kind of task that `serve --dry-run` prints, byte for byte, as SkyPilot accepts it.

To write the files anew after a deliberate change: LLM_ATC_UPDATE_GOLDEN=1 pytest tests/golden
"""

from __future__ import annotations

import os
from pathlib import Path
from shlex import split

import pytest
import yaml

import llm_atc
from examples.make_tiny_model import make
from tests.offline import llm_atc as run
from tests.offline import offline_environment
from tests.sky_here import check_schema, read_task

HERE = Path(__file__).parent
PACKAGE = str(Path(llm_atc.__file__).parent)  # its relay goes to the machine
CHECKPOINT = "--name llm-atc/myvicuna --source s3://my-bucket/my_vicuna/"
ON_GCP = "--accelerator A100:1 -c servecluster --cloud gcp --region asia-southeast1"
ON_AWS = "-c servecluster --cloud aws --region us-east-2"
TOKEN = ("--envs", "HF_TOKEN=<token>")
VICUNA = "--name lmsys/vicuna-13b-v1.3"
COMMANDS: dict[str, tuple[str, ...]] = {
    "vicuna_from_s3": (*split(CHECKPOINT), *split(ON_GCP), *TOKEN),
    "vicuna_13b": (*VICUNA.split(), *split(ON_GCP), *TOKEN),
    "llama_2_7b_v100": (
        *split(f"--name meta-llama/Llama-2-7b-chat-hf --accelerator V100:1 {ON_AWS}"),
        *TOKEN,
    ),
    "llama_2_70b_two_a100": (
        *split(f"--name meta-llama/Llama-2-70b-chat-hf --accelerator A100-80GB:2 {ON_AWS}"),
        *TOKEN,
    ),
    "gcs_and_every_wish": (
        *split("--name llm-atc/mine --source gs://my-bucket/mine --cloud gcp --zone us-central1-a"),
        *split("--region us-central1 --accelerator L4:2,A100:1 --spot --disk-size 300 --port 9000"),
        *("-e", "GREETING=hello there", "--secret", "WANDB=abc", "--no-auth", "--yes"),
        *("--", "--max-model-len", "4096", "--chat-template", "it's {{ $(odd) }}.jinja"),
    ),
    "gguf_from_s3": (
        *split("--name llm-atc/small --source s3://my-bucket/small-gguf/ --backend llama-cpp"),
        *split("--accelerator L4:1 -c small --cloud aws --region us-east-1 -- --ctx-size 8192"),
    ),
    "two_machines": (*split(f"{VICUNA} --accelerator A100:8 --num-nodes 2 -c big --cloud gcp"), *TOKEN),
    "container_image": (
        *split(f"{VICUNA} --accelerator L4:1 -c boxed --image docker:vllm/vllm-openai:v0.32.0"),
    ),
    "the_cheapest_that_fits": (
        *split("--name TINY -c cheap --cloud aws --max-price 0.9 --spot --concurrency 8"),
        *split("-- --max-model-len 2000"),
    ),
    "named_within_a_price": (
        *split("--name TINY -c fixed --accelerator A100:1,L4:2 --cloud gcp --region us-central1"),
        *split("--max-price 3.80"),
    ),
}


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine that reaches nothing."""
    return offline_environment(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model on this machine, which can be looked at: TINY in the commands and in the files."""
    return str(make(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.mark.parametrize("name", COMMANDS)
def test_dry_run_prints_the_task_of_its_golden_file(name: str, offline: dict[str, str], tiny: str) -> None:
    words = (word.replace("TINY", tiny) for word in _with_dry_run(COMMANDS[name]))
    done = run(offline, "serve", *words)
    assert done.returncode == 0, done.stderr
    assert "<token>" not in done.stdout + done.stderr
    printed = done.stdout.replace(PACKAGE, "PACKAGE").replace(tiny, "TINY")
    golden = HERE / f"{name}.yaml"
    if os.environ.get("LLM_ATC_UPDATE_GOLDEN"):
        golden.write_text(printed)
    assert printed == golden.read_text()


def _with_dry_run(words: tuple[str, ...]) -> tuple[str, ...]:
    cut = words.index("--") if "--" in words else len(words)
    return (*words[:cut], "--dry-run", *words[cut:])


@pytest.mark.parametrize("name", COMMANDS)
def test_skypilot_accepts_the_golden_file(name: str) -> None:
    text = (HERE / f"{name}.yaml").read_text().replace("PACKAGE", PACKAGE).replace("TINY", PACKAGE)
    check_schema(yaml.safe_load(text))
    secrets = dict.fromkeys(yaml.safe_load(text).get("secrets", {}), "value")
    assert set(read_task(yaml.safe_load(text), secrets).secrets) == set(secrets)


def test_what_is_not_sold_is_a_warning_with_the_nearest(offline: dict[str, str]) -> None:
    done = run(offline, "serve", *COMMANDS["llama_2_70b_two_a100"], "--dry-run")
    assert done.returncode == 0
    assert (
        "aws/us-east-2 does not sell A100-80GB:2. The nearest that is sold: A100-80GB:8 on aws/"
        in done.stderr
    )
    assert "A100-80GB:2 on gcp/" in done.stderr
