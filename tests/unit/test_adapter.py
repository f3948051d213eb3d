"""An adapter that is asked for as if it were a model: which one it belongs to, and the command for both."""

from __future__ import annotations

import json
import shlex

import pytest

from llm_atc.plan.adapter import RANKS, USUAL_RANK, alone
from llm_atc.plan.asked import read_request
from llm_atc.plan.engine import EngineName
from llm_atc.plan.layers import FLAG, Layer, settle
from llm_atc.plan.model import ModelRef
from llm_atc.plan.serve_line import read_values
from llm_atc.store.engine_options import engine_options

SQL = ModelRef.parse("org/SQL-Lora")


def told(ref: ModelRef = SQL, **config: object) -> tuple[str, str]:
    error = alone(ref, json.dumps(config).encode(), "There is: adapter_config.json.")
    return error.message, error.hint or ""


@pytest.mark.parametrize(
    ("ref", "config", "model", "lora", "after"),
    [
        (SQL, {"base_model_name_or_path": "Qwen/Qwen3-8B"}, "Qwen/Qwen3-8B", "sql-lora=org/SQL-Lora", ()),
        (
            ModelRef.parse("./my-adapter"),
            {"base_model_name_or_path": "Qwen/Qwen3-8B", "r": 16, "revision": "v1"},
            "Qwen/Qwen3-8B@v1",
            "my-adapter=./my-adapter",
            (),
        ),
        (
            ModelRef.parse("s3://bucket/some/sql"),
            {"base_model_name_or_path": "Qwen/Qwen3-8B", "r": 8, "rank_pattern": {"q_proj": 40}},
            "Qwen/Qwen3-8B",
            "sql=s3://bucket/some/sql",
            ("--max-lora-rank", "64"),
        ),
    ],
)
def test_the_command_that_is_printed_asks_for_both(
    ref: ModelRef, config: dict[str, object], model: str, lora: str, after: tuple[str, ...]
) -> None:
    _, command = told(ref, **config)
    words = shlex.split(command)
    assert words[:2] == ["llm-atc", "serve"]
    cut = words.index("--") if "--" in words else len(words)
    read = read_values(words[2:cut])
    request = read_request(settle([Layer(source=FLAG, values=read.values)]), {}).request
    assert (request.model, read.own) == (model, ())
    assert request.inference.lora == (tuple(lora.split("=")),)
    assert tuple(words[cut + 1 :]) == after


@pytest.mark.parametrize("base", [None, 7, "/home/me/llama", "./llama", "two words"])
def test_a_model_that_nobody_else_can_get_is_not_named(base: object) -> None:
    says, command = told(base_model_name_or_path=base)
    assert says.startswith("org/SQL-Lora is a LoRA adapter, not a model by itself, and does not say")
    assert command == "llm-atc serve --name OWNER/BASE --lora sql-lora=org/SQL-Lora"


def test_a_damaged_file_is_no_other_error() -> None:
    assert "LoRA adapter" in alone(SQL, b"{", "").message


def test_the_ranks_are_the_pinned_engines() -> None:
    option = engine_options(EngineName.VLLM).by_dest["max_lora_rank"]
    assert (option.choices, option.default) == (RANKS, USUAL_RANK)
