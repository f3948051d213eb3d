"""`llm-atc parse 'llm-atc serve …'` knows every flag that `serve` has, and says it in the engine's words."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from llm_atc.cli.main import app
from llm_atc.errors import UsageError
from llm_atc.plan.command_line import CommandLine
from llm_atc.plan.engine import EngineName
from llm_atc.plan.keys import KEYS, Key, Kind
from llm_atc.plan.pasted_line import parse
from llm_atc.plan.request import read_pairs
from llm_atc.plan.serve_line import ALONE, WITH_VALUE, read_values
from llm_atc.store.engine_options import engine_options

TEXTS = {Kind.PAIRS: "A=1", Kind.WORDS: "--max-num-seqs 4", Kind.SIZE: "32k"}
FLAGGED = [(key, flag) for key in KEYS for both in key.flags for flag in both.strip().split("/") if flag]
LLAMA_ALONE = {"serve.gpu_layers", "serve.max_ctx_size", "serve.num_threads"}


def read(text: str) -> CommandLine:
    return parse(f"llm-atc serve {text}", engine_options)


def example(key: Key) -> str:
    if key.choices or key.example or key.name == "inference.dtype":
        return key.example or "".join(key.choices[:1]) or "half"
    return f"{key.low or 1:g}" if key.kind in (Kind.INTEGER, Kind.NUMBER) else TEXTS.get(key.kind, "some")


@pytest.mark.parametrize(("key", "flag"), FLAGGED, ids=lambda one: one if isinstance(one, str) else "")
def test_every_setting_of_serve_is_read_or_said_to_be_left_out(key: Key, flag: str) -> None:
    llama = key.name in LLAMA_ALONE
    named = [] if key.name in ("model.name", "serve.model_path") else ["x.gguf" if llama else "org/x"]
    words = [flag] if key.kind is Kind.SWITCH else [flag, f"'{example(key)}'"]
    backend = ["--backend vllm"] if key.name == "serve.backend_args" else []
    line = read(" ".join([*named, *backend, *words]))
    assert (line.engine is EngineName.LLAMA_CPP) is llama
    assert line.model == (named[0] if named else "some")
    if key.name not in ("serve.backend", "model.trust_remote_code"):  # which may say what holds anyway
        plain = read(" ".join(named or ["some"]))
        assert (line.options, line.env, line.notes) != (plain.options, plain.env, plain.notes) or not named


def test_every_other_flag_of_the_command_is_known() -> None:
    root: Any = typer.main.get_command(app())
    command = root.commands["serve"]
    own = {
        flag: one.is_flag
        for one in command.params
        for flag in one.opts
        if flag.startswith("-") and one.name not in {key.parameter for key in KEYS}
    }
    assert own.keys() | {"--help"} == ALONE | WITH_VALUE
    assert {flag for flag, alone in own.items() if alone} | {"--help"} == ALONE


def test_shared_options_become_the_engines_own() -> None:
    line = read(
        "org/x --gpus 2 --gpu-memory 0.8 --max-model-len 32k --dtype half --lora a=./a --trust-remote-code "
        "--vllm-args '--max-num-seqs 4' --revision v1 --served-model-name n --host 0.0.0.0 -- --enforce-eager"
    )
    assert line.model == "org/x"
    assert line.notes == ()
    assert line.options == {
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.8,
        "max_model_len": 32000,
        "dtype": "half",
        "enable_lora": True,
        "lora_modules": [{"name": "a", "path": "./a"}],
        "trust_remote_code": True,
        "max_num_seqs": 4,
        "revision": "v1",
        "served_model_name": ["n"],
        "host": "0.0.0.0",
        "enforce_eager": True,
    }


def test_llama_server_gets_them_in_its_words_and_the_rest_is_noted() -> None:
    line = read("./x.gguf --max-model-len 4096 --num-gpu-layers 9 --gpus 2 --served-model-name n")
    assert line.engine is EngineName.LLAMA_CPP
    assert line.options == {"alias": "n", "ctx_size": 4096, "n_gpu_layers": 9}
    assert "--gpus 2 is llm-atc's own, and left out." in line.notes


def test_what_is_llm_atcs_own_is_told_without_secrets() -> None:
    line = read("M --spot --accelerator A100:1,L4:2 --api-key k-made-up --secret T=t-made-up --ttl 8h --yes")
    assert line.notes == (
        "--ttl 8h is llm-atc's own, and left out.",
        "--accelerator A100:1,L4:2 is llm-atc's own, and left out.",
        "--spot is llm-atc's own, and left out.",
        "--secret is llm-atc's own, and left out.",
        "--api-key is llm-atc's own, and left out.",
        "--yes is llm-atc's own, and left out.",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("M --sopt", "llm-atc serve has no option --sopt. Did you mean --spot?"),
        ("M --gpus many", "--gpus 'many' is no number"),
        ("M --gpus 0", "--gpus 0 is less than 1"),
        ("M --port", "--port wants a value"),
        ("M --backend tgi", "'tgi' is none of vllm, llama-cpp"),
        ("M --max-model-len 1k -- --max-model-len 2k", "contradict each other"),
    ],
)
def test_what_serve_refuses_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert says in caught.value.message


@pytest.mark.parametrize("text", ["A=1 B=2", "A=b c", "A='b c' B=2", "A=it's", " A=1 "])
def test_variables_are_read_as_serve_reads_them(text: str) -> None:
    line = read(f"M -e {shlex.quote(text)}")
    assert line.env == read_pairs([text], {}, flag="--envs")


def test_a_variable_whose_value_is_elsewhere_is_left_out_and_said() -> None:
    line = read("M --envs A=1 --envs HERE")
    assert (line.env, line.notes) == ({"A": "1"}, ("HERE has no value in this line: it is left out.",))
    with pytest.raises(UsageError, match="not a variable's name"):
        read("M --envs 1A=1")


def test_short_flags_may_stand_at_their_value() -> None:
    assert read_values(["-nM", "-cdemo"]).values == {"model.name": "M", "deployment.name": "demo"}
