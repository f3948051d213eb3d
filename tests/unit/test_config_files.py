"""What files and variables may say, what they may not, and where the message points."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_atc.config import schema
from llm_atc.config.file import read_file, read_text
from llm_atc.config.paths import beside
from llm_atc.config.shown import shown
from llm_atc.config.variables import (
    dotenv_layer,
    environment_layer,
    read_dotenv,
    strangers,
)
from llm_atc.errors import ConfigError, VariableError
from llm_atc.plan.keys import KEYS
from llm_atc.plan.layers import SERVICE_FILE, USER_CONFIG, Layer, Sourced
from llm_atc.store.engine_options import engine_options

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "configs").glob("*.yaml"))


def read(text: str, source: str = SERVICE_FILE) -> Layer:
    return read_text(text, "f.yaml", source, engine_options)


def test_sections_are_read_with_their_places() -> None:
    layer = read("model:\n  name: a/b\nserver: {port: 8001}\nsecrets:\n- HF_TOKEN\nenvs:\n  A: 12:30\n  B:\n")
    assert layer.values == {
        "model.name": "a/b",
        "server.port": 8001,
        "secrets": ["HF_TOKEN"],
        "envs": {"A": "12:30", "B": None},
    }
    assert layer.places["model.name"] == "f.yaml:2:3"
    assert layer.places["server.port"] == "f.yaml:3:10"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "model:\n", "model: {}\n", "~\n"])
def test_a_file_that_says_nothing_is_no_error(text: str) -> None:
    assert read(text).values == {}


def test_dashes_and_short_forms_are_read() -> None:
    layer = read("model: a/b\ncloud: aws\ninference:\n  max-model-len: 32k\nserve:\n  host_port: 8001\n")
    assert layer.values == {
        "model.name": "a/b",
        "cloud.name": "aws",
        "inference.max_model_len": "32k",
        "serve.host_port": "8001",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server:\n  prot: 1", "f.yaml:2:3: server has no setting 'prot'. Did you mean server.port?"),
        ("sever:\n  port: 1", "f.yaml:1:1: There is no section 'sever'. Did you mean server?"),
        ("port: 8000\nserver: {}", "f.yaml:1:1: 'port' is no section. Did you mean server.port?"),
        ("server:\n  gpu_memory: 1", "f.yaml:2:3: server has no setting 'gpu_memory'. Did you mean inf"),
        (
            "max-num-seqs: 1\nserver: {}",
            "f.yaml:1:1: 'max-num-seqs' is an option of vLLM: it stands in serve.ba",
        ),
        ("model:\n  name: a\n  name: b", "f.yaml:3:3: 'name' stands here twice: before in line 2."),
        ("inference: {max-model-len: 1, max_model_len: 2}", "stands here twice"),
        ("model: {name: a}\nmodel: {name: b}", "f.yaml:2:1: 'model' stands here twice"),
        ("server:\n  port: many", "f.yaml:2:9: server.port wants a whole number, and this is the text many."),
        ("server:\n  port: true", "server.port wants a whole number, and this is the truth value true."),
        ("server:\n  port: 80", "f.yaml:2:9: server.port: 80 is not between 1024 and 65535."),
        ("server:\n  auth: 0", "f.yaml:2:9: server.auth wants true or false, and this is the number 0."),
        ("server:\n  auth: null", "f.yaml:2:9: server.auth: is null, and wants true or false."),
        ("model:\n  name: true", "f.yaml:2:9: model.name wants a text, and this is the truth value true."),
        ("model:\n  name: [a]", "f.yaml:2:9: model.name wants a text, and this is a list."),
        ("resources:\n  accelerators: {L4: 1}", "f.yaml:2:17: resources.accelerators wants a text or a list"),
        ("inference:\n  gpu_memory: 2", "f.yaml:2:15: inference.gpu_memory: 2 is not between 0.1 and 1."),
        (
            "serve:\n  backend: vlm",
            "f.yaml:2:12: serve.backend: 'vlm' is none of vllm, llama-cpp: did you mean",
        ),
        ("server: 8", "f.yaml:1:9: server holds settings, and this is the number 8."),
        ("- a", "f.yaml:1:1: the file holds sections with settings"),
        ("model: [", "f.yaml:1:9: this is not YAML"),
        ("a: 1\n---\nb: 2", "this is not YAML"),
        ("model: &a {name: b}\nserver: *a", "f.yaml:2:9: an alias (*a) is not read here"),
        ("model:\n\tname: a", "f.yaml:2:1: this is not YAML"),
        (
            "serve:\n  backend_args:\n    max-num-sqs: 1\n  backend: vllm",
            "f.yaml:3:5: vLLM 0.32.0 has no option 'max-num-sqs'. Did you mean --max-num-seqs?",
        ),
        ("serve:\n  backend: llama-cpp\n  backend_args:\n    max-num-seqs: 1", "f.yaml:4:5: llama-server 0."),
        ("serve: {backend: vllm, backend_args: {max-num-seqs: few}}", "'few' is not a whole number"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "secrets:\n  HF_TOKEN: hf_abcdef",
        "secrets: [HF_TOKEN=hf_abcdef]",
        "envs:\n  HF_TOKEN: hf_abcdef",
        "envs: [HF_TOKEN=hf_abcdef]",
        "server:\n  api_key: sk-hf_abcdef",
        "model: m\napi-key: sk-hf_abcdef\nport: 8000",
    ],
)
def test_a_secrets_value_in_a_file_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="does not belong into a file") as caught:
        read(text)
    assert "abcdef" not in f"{caught.value.message}{caught.value.hint}{caught.value.details}"


def test_secrets_are_taken_by_name() -> None:
    layer = read("secrets:\n  HF_TOKEN:\nserver:\n  api_key: MY_KEY\n")
    assert layer.values == {"secrets": ["HF_TOKEN"], "server.api_key": ["MY_KEY"]}


def test_a_file_of_vllms_own_options_is_read_as_settings_and_options() -> None:
    layer = read(
        "model: Qwen/Qwen3-0.6B\nserved-model-name: q\nport: 8010\ntensor-parallel-size: 2\n"
        "max-model-len: 32k\nquantization: null\nmax-num-seqs: 16\ncompilation-config: {mode: 3}\n"
    )
    assert layer.values == {
        "serve.backend": "vllm",
        "model.name": "Qwen/Qwen3-0.6B",
        "server.served_model_name": "q",
        "server.port": 8010,
        "inference.gpus": 2,
        "inference.max_model_len": 32000,
        "inference.quantization": None,
        "serve.backend_args": {"max-num-seqs": 16, "compilation-config": {"mode": 3}},
    }
    assert layer.places["inference.gpus"] == "f.yaml:4:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: 8000\nmax-num-sqs: 1", "f.yaml:2:1: vLLM 0.32.0 has no option 'max-num-sqs'. Did you mean"),
        ("port: 80", "f.yaml:1:7: port: 80 is not between"),
        ("dtype: float17", "f.yaml:1:1: "),
        ("port: 8000\nconfig: other.yaml", "f.yaml:2:1: a file of options cannot name another one"),
    ],
)
def test_what_vllm_would_refuse_in_its_file_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert message in caught.value.message


def test_the_users_own_file_has_sections_only() -> None:
    with pytest.raises(ConfigError, match="is no section"):
        read("port: 8000", USER_CONFIG)


def refusal(text: str) -> str:
    """Why the text is refused, or what was read in it."""
    try:
        return f"read {' '.join(read(text).values)}"
    except ConfigError as error:
        return error.message


@given(st.text())
def test_any_text_is_read_or_refused_as_a_configuration(text: str) -> None:
    assert refusal(text).startswith(("f.yaml", "read"))


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_of_any_setting_is_read_or_refused(value: Any) -> None:
    for key in KEYS:
        section, _, name = key.name.rpartition(".")
        made = yaml.safe_dump({section: {name: value}} if section else {name: value})
        assert re.match(r"f\.yaml:\d+:\d+: |read .*" + re.escape(key.name), refusal(made))


# Variables


def test_variables_are_read_by_their_kind_and_empty_ones_say_nothing() -> None:
    layer = environment_layer(
        {
            "LLM_ATC_PORT": " 8001 ",
            "LLM_ATC_SPOT": "yes",
            "LLM_ATC_ACCELERATORS": "L4:1, A100:2",
            "LLM_ATC_SECRETS": "HF_TOKEN,OTHER",
            "LLM_ATC_ENVS": "A=1,2",
            "LLM_ATC_QUANTIZATION": "null",
            "LLM_ATC_REGION": "",
            "PORT": "1",
        }
    )
    assert layer.values == {
        "server.port": 8001,
        "resources.spot": True,
        "resources.accelerators": ["L4:1", "A100:2"],
        "secrets": ["HF_TOKEN", "OTHER"],
        "envs": ["A=1,2"],
        "inference.quantization": None,
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LLM_ATC_PORT", "x", "LLM_ATC_PORT: 'x' is not a whole number."),
        ("LLM_ATC_PORT", "80", "LLM_ATC_PORT: 80 is not between 1024 and 65535."),
        ("LLM_ATC_SPOT", "maybe", "LLM_ATC_SPOT: 'maybe' is not true or false."),
        ("LLM_ATC_AUTH", "null", "LLM_ATC_AUTH: is null"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(VariableError) as caught:
        environment_layer({name: value})
    assert message in caught.value.message


def test_a_dotenv_file_is_read_with_quotes_comments_and_lines(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('# mine\nexport LLM_ATC_MODEL="a/b"\nHF_TOKEN=hf_$x # not shown\nwhat is this\n')
    dotenv = read_dotenv(file)
    assert dotenv.values == {"LLM_ATC_MODEL": "a/b", "HF_TOKEN": "hf_$x"}
    assert dotenv.notes == (".env:4 is not NAME=VALUE, and left out.",)
    layer = dotenv_layer(dotenv)
    assert (layer.values, layer.places) == ({"model.name": "a/b"}, {"model.name": ".env:2 LLM_ATC_MODEL"})


def test_no_dotenv_file_says_nothing(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path / ".env").values == {}


def test_a_variable_that_is_almost_one_is_told() -> None:
    assert strangers({"LLM_ATC_GPU_MEMRY": "1", "LLM_ATC_HOME": "/x", "OTHER": "1", "LLM_ATC_QQQ": ""}) == (
        "LLM_ATC_GPU_MEMRY is no variable of llm-atc, and changes nothing: did you mean LLM_ATC_GPU_MEMORY?",
    )
    assert strangers({"LLM_ATC_HOME": "/x"}, ".env") == (
        "LLM_ATC_HOME in .env is not read: set it in the environment.",
    )


# What may be shown


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("secrets", ["HF_TOKEN=hf_abc d", "OTHER"], ["HF_TOKEN=***", "OTHER"]),
        ("server.api_key", ["sk-abc"], ["***"]),
        ("envs", ["A=1 DB_PASSWORD=abc def"], ["A=1 DB_PASSWORD=***"]),
        ("envs", ["A=1"], ["A=1"]),
        ("serve.backend_args", ["--api-key abc --x 1"], ["--api-key *** --x 1"]),
        ("serve.backend_args", {"api-key": "abc", "x": "y"}, {"api-key": "***", "x": "y"}),
        ("backends.vllm_executable", "docker run -e HF_TOKEN=abc i", "docker run -e HF_TOKEN=***"),
    ],
)
def test_secrets_are_hidden_where_settings_are_shown(name: str, value: Any, seen: Any) -> None:
    assert shown(name, Sourced(value=value, source="environment")) == seen


# The schema, and the examples


def test_the_published_schema_is_the_tables() -> None:
    published = Path(schema.__file__).with_name(schema.FILE)
    assert published.read_text() == schema.text(), "llm-atc config schema > llm_atc/config/schema.json"
    jsonschema.Draft7Validator.check_schema(json.loads(schema.text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_read_and_follow_the_schema(path: Path) -> None:
    layer = read_file(path, SERVICE_FILE, engine_options)
    assert layer.values["model.name"]
    jsonschema.Draft7Validator(schema.schema()).validate(yaml.safe_load(path.read_text()))
    named = path.read_text().splitlines()[0].rpartition("=")[2]
    assert (path.parent / named).resolve() == Path(schema.__file__).with_name(schema.FILE)


@pytest.mark.parametrize(
    "text",
    [
        "server: {prot: 1}",
        "server: {port: 80}",
        "server: {port: x}",
        "secrets: {A: b}",
        "server: {auth: null}",
        "sever: {}",
        "serve: {backend: x}",
        "server: {api_key: sk-abc}",
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        read(text, USER_CONFIG)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema.schema())


def test_paths_in_a_file_begin_at_its_folder(tmp_path: Path) -> None:
    there = tmp_path / "services"
    (there / "adapters" / "sql").mkdir(parents=True)
    file = there / "service.yaml"
    file.write_text(
        "model: ./llama\n"
        "server: {tls_cert: cert.pem, tls_key: ~/key.pem}\n"
        "serve: {model_path: ../x.gguf, log_file: /var/log/atc.log}\n"
        "inference:\n  chat_template: chat.jinja\n  lora: {sql: adapters/sql, hub: org/adapter}\n"
    )
    assert read_file(file, SERVICE_FILE, engine_options).values == {
        "model.name": f"{there}/llama",
        "server.tls_cert": f"{there}/cert.pem",
        "server.tls_key": "~/key.pem",
        "serve.model_path": f"{there}/../x.gguf",
        "serve.log_file": "/var/log/atc.log",
        "inference.chat_template": f"{there}/chat.jinja",
        "inference.lora": {"sql": f"{there}/adapters/sql", "hub": "org/adapter"},
    }


def test_what_is_no_path_in_a_file_stays(tmp_path: Path) -> None:
    said = {"model.name": "org/x", "model.source": "s3://bucket/x", "inference.chat_template": "chatml"}
    assert beside({**said, "inference.lora": ["a=org/a", "b=./b"]}, tmp_path) == {
        **said,
        "inference.lora": ["a=org/a", f"b={tmp_path}/b"],
    }
    text = "{% for one in messages %}./{% endfor %}"
    assert beside({"inference.chat_template": text}, tmp_path) == {"inference.chat_template": text}
