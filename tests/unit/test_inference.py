"""The options that engines share, in each engine's words; and where they stand on a machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.command_line import parse_words
from llm_atc.plan.engine import EngineName, Machine
from llm_atc.plan.inference import Inference, words
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Where
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan, make_plan
from llm_atc.plan.request import Request
from llm_atc.render.task import task, template_for
from llm_atc.store.engine_options import engine_options
from llm_atc.store.task_templates import load_template

VLLM, LLAMA = EngineName.VLLM, EngineName.LLAMA_CPP
L4 = Accelerator(name="L4", count=4)
CLOUD = Request(model="Qwen/Qwen3-0.6B", name="demo", accelerators=(L4,))
HERE = Request(model="Qwen/Qwen3-0.6B", place=Place(cloud="local"))
SPEC = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
GGUF = ModelSpec(ref=ModelRef.parse("me/tiny-GGUF"), looked=True, format=Format.GGUF, file="tiny.gguf")
GPUS = Machine(cpus=8, memory=16 * 1024**3, gpu="NVIDIA L4", gpus=4)


def option(plan: Plan, name: str) -> str | None:
    """The word that follows this option."""
    return plan.arguments[plan.arguments.index(name) + 1] if name in plan.arguments else None


@pytest.mark.parametrize(
    ("asked", "vllm", "llama"),
    [
        ({}, (), ()),
        ({"max_model_len": 4096}, ("--max-model-len", "4096"), ("--ctx-size", "4096")),
        (
            {"chat_template": "/t/chat.jinja"},
            ("--chat-template", "/t/chat.jinja"),
            ("--chat-template-file", "/t/chat.jinja"),
        ),
        (
            {"chat_template": "{{ messages }}"},
            ("--chat-template", "{{ messages }}"),
            ("--chat-template", "{{ messages }}"),
        ),
        (
            {"lora": (("sql", "/a/sql"),)},
            ("--enable-lora", "--lora-modules", "sql=/a/sql"),
            ("--lora", "/a/sql"),
        ),
        ({"dtype": "auto"}, ("--dtype", "auto"), ()),
        ({"gpu_memory": 0.5}, ("--gpu-memory-utilization", "0.5"), None),
        ({"dtype": "half"}, ("--dtype", "half"), None),
        ({"quantization": "awq"}, ("--quantization", "awq"), None),
        ({"trust_remote_code": True}, ("--trust-remote-code",), None),
        (
            {"lora": (("a", "/a"), ("b", "/b"))},
            ("--enable-lora", "--lora-modules", "a=/a", "b=/b"),
            None,
        ),
    ],
    ids=str,
)
def test_an_option_is_said_in_the_words_of_each_engine_or_refused_by_name(
    asked: dict[str, object], vllm: tuple[str, ...], llama: tuple[str, ...] | None
) -> None:
    given = Inference(**asked)  # type: ignore[arg-type]  # the table's values are of the fields' types
    assert words(given, VLLM) == vllm
    parse_words(("M", *vllm), engine_options(VLLM))
    if llama is None:
        (name,) = asked
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}|every adapter on every request"):
            words(given, LLAMA)
    else:
        assert words(given, LLAMA) == llama
        parse_words(llama, engine_options(LLAMA))


@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_vllm_takes_as_many_gpus_as_were_asked_for(gpus: int) -> None:
    asked = Inference(gpus=gpus)
    cloud = make_plan(replace(CLOUD, inference=asked), SPEC)
    assert option(cloud, "--tensor-parallel-size") == str(gpus), "also 1, or the task would take all"
    here = make_plan(replace(HERE, inference=asked), SPEC, GPUS)
    assert option(here, "--tensor-parallel-size") == (str(gpus) if gpus > 1 else None)


def test_llama_server_takes_the_first_gpus() -> None:
    plan = make_plan(replace(HERE, inference=Inference(gpus=2)), GGUF, GPUS)
    assert option(plan, "--device") == "CUDA0,CUDA1"
    assert option(make_plan(replace(HERE, inference=Inference(gpus=4)), GGUF, GPUS), "--device") is None


@pytest.mark.parametrize(
    ("request_", "machine", "told"),
    [
        (CLOUD, None, "--gpus 5 are more than there are: L4:4 is 4."),
        (HERE, GPUS, "--gpus 5 are more than there are: this machine has 4."),
        (HERE, replace(GPUS, gpus=0), "--gpus 5 are more than there are: this machine has 0."),
        (replace(CLOUD, num_nodes=2), None, "--gpus and --num-nodes contradict each other"),
    ],
)
def test_more_gpus_than_there_are_is_an_error(request_: Request, machine: Machine | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make_plan(replace(request_, inference=Inference(gpus=5)), SPEC, machine)


def test_files_reach_a_cloud_machine_and_are_named_there() -> None:
    asked = Inference(
        chat_template="/home/me/chat.jinja",
        lora=(("sql", "/home/me/sql"), ("law", "s3://b/law"), ("hub", "o/adapter")),
    )
    plan = make_plan(replace(CLOUD, inference=asked), SPEC)
    assert option(plan, "--chat-template") == "/tmp/llm-atc/demo/chat-template.jinja"
    at = plan.arguments.index("--lora-modules")
    assert plan.arguments[at + 1 : at + 4] == (
        "sql=/tmp/llm-atc/demo/lora-0",
        "law=/tmp/llm-atc/demo/lora-1",
        "hub=o/adapter",
    )
    mounts = task(plan, load_template(template_for(plan)), "/package")["file_mounts"]
    assert mounts["/tmp/llm-atc/demo/chat-template.jinja"] == "/home/me/chat.jinja"
    assert mounts["/tmp/llm-atc/demo/lora-0"] == "/home/me/sql"
    assert mounts["/tmp/llm-atc/demo/lora-1"] == "s3://b/law"


def test_a_served_name_is_what_requests_call_the_model_and_changes_no_other_name() -> None:
    request = replace(CLOUD, name=None, served_model_name="gpt")
    plan = make_plan(request, SPEC)
    assert (plan.name, plan.model.ref.name, plan.checkpoint) == ("qwen3-0.6b", "gpt", "Qwen/Qwen3-0.6B")
    assert option(plan, "--served-model-name") == "gpt"
    bucket = ModelSpec(ref=ModelRef(name="llm-atc/m", where=Where.S3, location="s3://b/m"), looked=True)
    mounted = make_plan(request, bucket)
    filled = task(mounted, load_template(template_for(mounted)), "/package")
    assert filled["file_mounts"][filled["envs"]["MODEL"]] == "s3://b/m"


def test_generation_defaults_and_the_host_are_told_to_the_relay_of_a_cloud_machine() -> None:
    request = replace(CLOUD, host="127.0.0.1", generation=(("temperature", 0.5), ("max_tokens", 64)))
    plan = make_plan(request, SPEC)
    filled = task(plan, load_template(template_for(plan)), "/package")
    assert json.loads(filled["envs"]["RELAY_ARGS"]) == [
        *("--listen", "127.0.0.1:8000"),
        *("--default", "temperature=0.5", "--default-max-tokens", "64"),
    ]


def test_a_log_file_is_for_this_machine() -> None:
    with pytest.raises(UsageError, match="--log-file is for this machine"):
        make_plan(replace(CLOUD, log_file="/tmp/log"), SPEC)
