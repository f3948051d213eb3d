"""`llm-atc parse` prints what a line sets: as YAML, JSON, the engine's own line, or an llm-atc command."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from llm_atc.cli.parse import parse
from llm_atc.errors import UsageError

app = typer.Typer()
app.command()(parse)
LINE = "HF_TOKEN=hf_made_up A=b vllm serve org/x -tp 2 --port 9000 --api-key k --max-model-len 32k"
FACTS = {
    "engine": "vllm",
    "model": "org/x",
    "options": {"port": 9000, "api_key": ["k"], "max_model_len": 32000, "tensor_parallel_size": 2},
    "env": {"HF_TOKEN": "hf_made_up", "A": "b"},
}


def said(*words: str, stdin: str | None = None) -> tuple[str, str]:
    """What stands on stdout and on stderr; errors of the program are raised."""
    done = CliRunner().invoke(app, list(words), input=stdin, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_json_has_the_parsers_own_names_and_values() -> None:
    assert json.loads(said(LINE, "--json")[0]) == FACTS
    assert said(LINE, "--to", "json") == said(LINE, "--json")


def test_yaml_is_what_is_printed_unasked() -> None:
    assert yaml.safe_load(said(LINE)[0]) == FACTS


def test_the_engines_own_line_is_in_full() -> None:
    assert shlex.split(said(LINE, "--to", "line")[0]) == shlex.split(
        "HF_TOKEN=hf_made_up A=b vllm serve org/x --port 9000 --api-key=k --max-model-len 32000 "
        "--tensor-parallel-size 2"
    )


def test_an_llm_atc_command_writes_no_secret_and_takes_what_is_its_own() -> None:
    text, notes = said(LINE + " --host ::1 --served-model-name n m --hf-token hf_made_up", "--to", "serve")
    assert shlex.split(text) == shlex.split(
        "llm-atc serve --name org/x --host ::1 --port 9000 --served-model-name n --api-key API_KEY "
        "--secret HF_TOKEN --envs A=b -- --max-model-len 32000 --tensor-parallel-size 2"
    )
    assert "hf_made_up" not in text + notes
    assert "--host" not in notes
    assert "The name m is left out: requests call the model n." in notes


def test_a_variable_whose_value_looks_like_two_stays_one() -> None:
    text, _ = said("A='1 B=2' vllm serve M", "--to", "serve")
    assert shlex.split(text) == ["llm-atc", "serve", "--name", "M", "--envs", "'A=1 B=2'"]
    assert json.loads(said(text, "--json")[0])["env"] == {"A": "1 B=2"}


def test_a_llama_server_line_becomes_an_llm_atc_command() -> None:
    text, notes = said("llama-server -m x.gguf -ngl 99 --alias a,b --port 8080", "--to", "serve")
    assert shlex.split(text) == shlex.split(
        "llm-atc serve --name ./x.gguf --backend llama-cpp --port 8080 --served-model-name a "
        "-- --n-gpu-layers 99"
    )
    assert "The name b is left out" in notes


@pytest.mark.parametrize("form", ["yaml", "json", "line"])
def test_what_is_printed_is_read_again_from_stdin(form: str) -> None:
    text, _ = said(LINE, "--to", form)
    assert json.loads(said("--json", stdin=text)[0]) == FACTS
    assert json.loads(said("-", "--json", stdin=text)[0]) == FACTS


def test_an_llm_atc_command_is_read_again() -> None:
    text, _ = said("vllm serve org/x -tp 2 --port 9000", "--to", "serve")
    again: dict[str, Any] = json.loads(said("--json", stdin=text)[0])
    assert again["options"] == {"port": 9000, "tensor_parallel_size": 2}


@pytest.mark.parametrize("model", ["org/x", "./x.gguf"])
def test_where_it_listens_and_what_it_is_called_stay_in_an_llm_atc_command(model: str) -> None:
    text, notes = said(f"llm-atc serve {model} --served-model-name qwen --host 127.0.0.1", "--to", "serve")
    assert "--host 127.0.0.1 --served-model-name qwen" in text
    assert notes == ""
    assert said(text, "--to", "serve") == (text, "")


def test_what_vllm_checks_after_parsing_is_checked_unless_told_not_to() -> None:
    with pytest.raises(UsageError, match="tool-call-parser"):
        said("vllm serve M --enable-auto-tool-choice")
    assert "enable_auto_tool_choice" in said("vllm serve M --enable-auto-tool-choice", "--no-check")[0]
    assert "--enable-log-requests is added" in said("vllm serve M --enable-log-outputs")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("vllm serve M --nothing",), "--nothing"),
        (("vllm serve M", "--to", "xml"), "--to 'xml'"),
        (('{"engine": "vllm", "modle": "M"}',), "modle"),
        (("engine: tgi",), "No engine is called 'tgi'"),
        (("engine: [",), "neither"),
        (("options: [1]\nmodel: M",), "names and values"),
    ],
)
def test_what_is_wrong_is_a_usage_error(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        said(*words)
