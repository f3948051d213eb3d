"""Our KV cache against the real vLLM's on this machine's CPU: the same bytes, blocks and tokens."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from examples.make_tiny_model import make
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import vllm
from llm_atc.plan.architecture import Architecture, Dtype
from llm_atc.plan.kv_cache import CPU, Platform, per_token, pool
from llm_atc.plan.model import ModelRef
from llm_atc.plan.model_config import read_architecture
from llm_atc.plan.weights import loaded
from llm_atc.ports import EngineState
from llm_atc.sources.tensors import read_facts
from llm_atc.targets.local import LocalTarget
from tests.e2e.model_shapes import SHAPES
from tests.local_fixtures import ModelsOnDisk, Told, eventually, plan_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MEMORY = 64 * 2**20
DRAWS = 1
PROBE = Path(__file__).with_name("vllm_kv_probe.py")
# Their checkpoints are written by transformers, as the published ones were.
STORED = (
    "GQA",
    "Qwen3 MoE",
    "Mixtral",
    "Gemma 2",
    "Gemma 3",
    "GPT-2",
    "Falcon, new",
    "DeepSeek-V2",
)
SERVED = ("MHA", "GQA", "Gemma 2")


def config(name: str, draw: int) -> dict[str, Any]:
    """The same shape for the same name and number."""
    return SHAPES[name](Random(f"{name}/{draw}"))  # noqa: S311  shapes, no secrets


def slug(name: str) -> str:
    """The name as a folder's and a deployment's."""
    return re.sub(r"\W", "-", name.lower())


def shape(found: dict[str, Any]) -> Architecture:
    read = read_architecture(found)
    assert isinstance(read, Architecture), read
    return read


def platform(**sizes: int) -> Platform:
    """This machine's CPU: states are float32 with AVX512-BF16, latents want blocks of 128 with AMX."""
    flags = Path("/proc/cpuinfo").read_text()
    here = CPU if "avx512_bf16" in flags else replace(CPU, state=None)
    return replace(here, latent_block=128 if "amx_tile" in flags else CPU.latent_block, **sizes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where checkpoints of real files lie, once vLLM's process has written them."""
    return tmp_path_factory.mktemp("stored")


@pytest.fixture(scope="module")
def told(
    real_engines: EnginesHere, tiny: Path, stored: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What vLLM says of every shape, from one process of its own Python."""
    asked = [
        {"name": f"{name}/{draw}", "config": config(name, draw), "memory": MEMORY}
        for name in SHAPES
        for draw in range(DRAWS)
    ]
    asked.append({"name": "tiny", "folder": str(tiny), "memory": MEMORY})
    asked += [
        {"name": name, "folder": str(stored / slug(name)), "config": config(name, 0), "memory": MEMORY}
        for name in STORED
    ]
    folder = tmp_path_factory.mktemp("probe")
    requests = folder / "requests.json"
    requests.write_text(json.dumps(asked))
    python = Path(real_engines.ensure(vllm.CPU_PIN, Told())).with_name("python")
    environ = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run([python, PROBE, requests], env=environ, capture_output=True, text=True, check=False)
    lines = re.findall(r"^PROBE (.*)$", done.stdout, re.MULTILINE)
    found = {one["name"]: one for one in map(json.loads, lines)}
    assert len(found) == len(asked), done.stderr[-4000:]
    return found


@pytest.mark.parametrize("draw", range(DRAWS))
@pytest.mark.parametrize("name", SHAPES)
def test_blocks_and_tokens_are_those_of_vllm(told: dict[str, dict[str, Any]], name: str, draw: int) -> None:
    theirs = told[f"{name}/{draw}"]
    assert "error" not in theirs, theirs
    model = shape(config(name, draw))
    here = platform(batch=theirs["batch"], batches=theirs["batches"])
    ours = pool(model, Dtype.BFLOAT16, Dtype.BFLOAT16, platform=here)
    assert MEMORY // ours.block_bytes == theirs["blocks"]
    assert ours.capacity(MEMORY, theirs["length"]) == theirs["tokens"]
    assert per_token(model, Dtype.BFLOAT16, Dtype.BFLOAT16, here).all == theirs["per_token"]
    assert model.context in (None, theirs["length"])


@pytest.mark.parametrize("name", ["tiny", *STORED])
def test_weights_are_those_that_vllm_loads(
    told: dict[str, dict[str, Any]], tiny: Path, stored: Path, name: str
) -> None:
    assert "error" not in told[name], told[name]
    facts = read_facts(ModelRef.parse(str(tiny if name == "tiny" else stored / slug(name))))
    assert isinstance(facts.architecture, Architecture)
    ours = loaded(facts.weights, facts.architecture, Dtype.BFLOAT16)
    assert abs(ours - told[name]["weights"]) <= 0.005 * ours


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, real_engines: EnginesHere) -> Iterator[LocalTarget]:
    home = tmp_path_factory.mktemp("home")
    found = LocalTarget(home, real_engines, ModelsOnDisk())
    yield found
    for folder in home.joinpath("local").glob("*"):
        found.down(folder.name, Told())


@pytest.mark.parametrize("name", SERVED)
def test_the_tokens_that_vllm_serve_logs_are_ours(
    target: LocalTarget, tiny: Path, tmp_path: Path, name: str
) -> None:
    served = config(name, 0)
    for file in tiny.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    served["vocab_size"] = 1024
    (tmp_path / "config.json").write_text(json.dumps(served))
    deployment = slug(name)
    options = ("--load-format", "dummy", "--enforce-eager", "--kv-cache-memory-bytes", str(MEMORY))
    target.launch(plan_here(deployment, str(tmp_path), arguments=options), {}, Told())

    def logged() -> str | None:
        log = "\n".join(target.logs(deployment, follow=False))
        found = re.search(r"KV cache size: ([\d,]+) tokens", log)
        assert found or target.observe(deployment).engine is not EngineState.ENDED, log[-3000:]
        return found[1] if found else None

    said = eventually(logged, within=240, every=0.3) or ""
    target.down(deployment, Told())
    model = shape(served)
    ours = pool(model, Dtype.BFLOAT16, Dtype.BFLOAT16, platform=platform())
    assert ours.capacity(MEMORY, model.context or 0) == int(said.replace(",", ""))
