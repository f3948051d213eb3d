"""Plans as SkyPilot tasks, and the templates' scripts, run for real with stand-ins for uv, vLLM and Ray."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_atc.access import Secret
from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.delivery import Way
from llm_atc.plan.engine import EngineName
from llm_atc.plan.flag_checks import RESERVED, check_engine_args
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan, make_plan
from llm_atc.plan.request import Request
from llm_atc.render.task import document, task, template_for
from llm_atc.store.task_templates import load_template, read_template
from tests import sky_here

TEMPLATES = sorted(path.name for path in (Path(__file__).parents[2] / "task_templates").glob("*.yaml"))
ONE_MACHINE = "vllm.yaml"
SEVERAL_MACHINES = "vllm_nodes.yaml"
BASH = shutil.which("bash") or "/bin/bash"
# vLLM's own variable: it stands in the template, and a user may say otherwise.
OVERRIDABLE = {"VLLM_NO_USAGE_STATS"}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"))
variables = st.from_regex(r"[A-Z_][A-Z0-9_]{0,15}", fullmatch=True).filter(lambda name: name not in RESERVED)
model_names = texts.map(lambda text: "".join(c for c in text if c.isprintable() and not c.isspace()) or "m")


def plan_of(spec: ModelSpec | None = None, **changes: Any) -> Plan:
    spec = spec or ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
    request = Request(model=spec.ref.name, name="demo", accelerators=(Accelerator(name="L4"),))
    return make_plan(replace(request, **changes), spec)


def task_of(plan: Plan) -> dict[str, Any]:
    return task(plan, load_template(template_for(plan)), "/package")


def text_of(plan: Plan) -> str:
    return document(plan, task_of(plan), "0.1.0")


# The templates by themselves.


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_a_task_for_skypilot_as_it_is(name: str) -> None:
    sky_here.check_schema(load_template(name))
    read = sky_here.read_task(load_template(name), {"VLLM_API_KEY": "sk-12345678"})
    assert read.name == load_template(name)["name"]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("script", ["setup", "run"])
def test_a_templates_scripts_are_bash(name: str, script: str) -> None:
    checked = subprocess.run(
        ["bash", "-n"], input=load_template(name)[script], text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_variable_that_a_template_sets_is_no_users(name: str) -> None:
    assert set(load_template(name)["envs"]) - OVERRIDABLE <= RESERVED


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_tells_its_stages_and_how_to_launch_it(name: str) -> None:
    loaded = load_template(name)
    assert 'echo "[llm-atc] stage: set up"' in loaded["setup"]
    assert 'echo "[llm-atc] stage: weights"' in loaded["run"]
    assert re.search(
        rf"^#   .*sky launch task_templates/{re.escape(name)} ", read_template(name), re.MULTILINE
    )


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(plan_of(), id="one machine"),
        pytest.param(plan_of(num_nodes=2), id="several machines"),
    ],
)
def test_every_plan_has_a_template_that_ships(plan: Plan) -> None:
    assert template_for(plan) in TEMPLATES


def test_a_template_that_does_not_ship_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        read_template("absent.yaml")


# Rendered tasks.


def test_spot_is_tried_first_and_on_demand_where_there_is_none() -> None:
    named = (Accelerator(name="A100"), Accelerator(name="L4", count=2))
    plan = plan_of(place=Place(cloud="gcp"), accelerators=named, spot=True)
    resources = task_of(plan)["resources"]
    assert resources["ordered"] == [
        {"infra": "gcp", "accelerators": "A100:1", "use_spot": True},
        {"infra": "gcp", "accelerators": "A100:1", "use_spot": False},
        {"infra": "gcp", "accelerators": "L4:2", "use_spot": True},
        {"infra": "gcp", "accelerators": "L4:2", "use_spot": False},
    ]
    assert resources.keys() & {"accelerators", "infra", "use_spot"} == set()
    assert any("on demand where no spot machine can be had" in note for note in plan.notes)
    anywhere = task_of(replace(plan, place=Place()))["resources"]["ordered"]
    assert anywhere[0] == {"accelerators": "A100:1", "use_spot": True}


def test_a_plan_fills_the_structure() -> None:
    plan = plan_of(
        place=Place(cloud="gcp", region="us-central1"),
        accelerators=(Accelerator(name="L4", count=2), Accelerator(name="A100", count=2)),
        disk_size=300,
        image="docker:vllm/vllm-openai:v0.32.0",
        port=9000,
        envs=(("VLLM_LOGGING_LEVEL", "DEBUG"),),
        engine_args=("--max-model-len", "4096"),
        secrets=(("HF_TOKEN", Secret("hf_x")),),
    )
    filled = task_of(plan)
    order = ["name", "resources", "num_nodes", "file_mounts", "envs", "secrets", "setup", "run"]
    assert list(filled) == order
    assert (filled["name"], filled["num_nodes"]) == ("demo", 1)
    assert filled["resources"] == {
        "infra": "gcp/us-central1",
        "accelerators": ["L4:2", "A100:2"],
        "disk_size": 300,
        "image_id": "docker:vllm/vllm-openai:v0.32.0",
        "ports": 9000,
        "autostop": {"idle_minutes": 1, "down": False, "wait_for": "jobs"},
    }
    arguments = (
        '["--served-model-name", "Qwen/Qwen3-0.6B", "--tensor-parallel-size", "2", '
        '"--gpu-memory-utilization", "0.9", "--max-model-len", "4096"]'
    )
    assert filled["envs"] == {
        "MODEL": "Qwen/Qwen3-0.6B",
        "PORT": "9000",
        "AUTH": "key",
        "ENGINE_VERSION": "0.32.0",
        "ENGINE_REQUIREMENTS": '["vllm==0.32.0"]',
        "BESIDE_REQUIREMENTS": "[]",
        "CACHE": "",
        "CACHE_REVISION": "",
        "ENGINE_ARGS": arguments,
        "ENGINE_ARGS_BY_ACCELERATOR": "{}",
        "IDLE_MINUTES": "30",
        "TTL_SECONDS": "",
        "BUDGET_DOLLARS": "",
        "DOLLARS_AN_HOUR": "",
        "GUARD_MINUTES": "15",
        "RELAY_ARGS": "[]",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "DEBUG",
    }
    assert filled["secrets"] == {"HF_TOKEN": None, "VLLM_API_KEY": None}


def test_what_was_left_to_skypilot_is_not_said() -> None:
    autostop = {"idle_minutes": 1, "down": False, "wait_for": "jobs"}
    assert task_of(plan_of())["resources"] == {
        "accelerators": "L4:1",
        "ports": 8000,
        "autostop": autostop,
    }


def test_an_open_endpoint_has_no_key() -> None:
    filled = task_of(plan_of(auth=False))
    assert filled["envs"]["AUTH"] == "none"
    assert "secrets" not in filled


def test_several_machines_get_ray_beside_vllm() -> None:
    filled = task_of(plan_of(num_nodes=2))
    assert filled["num_nodes"] == 2
    assert json.loads(filled["envs"]["ENGINE_REQUIREMENTS"]) == ["vllm==0.32.0", "ray[default]"]


def test_a_variable_of_the_users_goes_before_the_templates() -> None:
    filled = task_of(plan_of(envs=(("VLLM_NO_USAGE_STATS", "0"),)))
    assert filled["envs"]["VLLM_NO_USAGE_STATS"] == "0"


@pytest.mark.parametrize("source", ["s3://bucket/tiny", "gs://bucket/tiny", "~/models/tiny"])
def test_a_checkpoint_is_put_where_the_engine_loads_it(source: str) -> None:
    filled = task_of(plan_of(ModelSpec(ref=ModelRef.parse("llm-atc/tiny", source), looked=True)))
    assert filled["file_mounts"]["~/.llm-atc/checkpoints/tiny"] == source
    assert filled["envs"]["MODEL"] == "~/.llm-atc/checkpoints/tiny"


def test_streamed_weights_are_no_file_of_the_machines() -> None:
    spec = ModelSpec(ref=ModelRef.parse("llm-atc/tiny", "s3://bucket/tiny"), looked=True, safetensors=True)
    filled = task_of(plan_of(spec, weights=Way.STREAM))
    assert list(filled["file_mounts"]) == ["~/.llm-atc/relay/llm_atc"]
    assert filled["envs"]["MODEL"] == "s3://bucket/tiny"
    beside = json.loads(filled["envs"]["BESIDE_REQUIREMENTS"])
    assert [one.partition("==")[0] for one in beside] == [
        "runai-model-streamer",
        "runai-model-streamer-s3",
        "boto3",
    ]
    assert json.loads(filled["envs"]["ENGINE_ARGS"])[-2:] == ["--load-format", "runai_streamer"]


def test_a_cache_goes_with_the_commit_that_it_is_for() -> None:
    hub = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True, revision="c" * 40)
    filled = task_of(plan_of(hub, cache="s3://mine/llm-atc"))
    assert (filled["envs"]["CACHE"], filled["envs"]["CACHE_REVISION"]) == ("s3://mine/llm-atc", "c" * 40)
    assert json.loads(filled["envs"]["BESIDE_REQUIREMENTS"]) == ["boto3==1.44.5"]


def test_rendering_leaves_the_template_as_it_was() -> None:
    template = load_template(ONE_MACHINE)
    before = json.dumps(template)
    task(plan_of(envs=(("A", "1"),)), template, "/package")
    assert json.dumps(template) == before


def is_for_the_engine(word: str) -> bool:
    """Whether llm-atc hands this word on: its own options it refuses."""
    try:
        check_engine_args((word,))
    except UsageError:
        return False
    return True


engine_arguments = st.lists(texts.filter(is_for_the_engine))


@given(arguments=engine_arguments)
def test_engine_arguments_reach_the_task_as_they_were_typed(arguments: list[str]) -> None:
    read = yaml.safe_load(text_of(plan_of(engine_args=tuple(arguments))))
    own = ["--served-model-name", "Qwen/Qwen3-0.6B", "--gpu-memory-utilization", "0.9"]
    assert json.loads(read["envs"]["ENGINE_ARGS"]) == [*own, *arguments]


@settings(max_examples=60)
@given(
    model=model_names,
    location=texts,
    arguments=engine_arguments,
    envs=st.dictionaries(variables, lines),
    image=st.none() | st.from_regex(r"[a-z][a-z0-9./:@_-]*", fullmatch=True),
    num_nodes=st.integers(1, 3),
)
def test_nothing_that_was_typed_is_in_a_script(
    model: str,
    location: str,
    arguments: list[str],
    envs: dict[str, str],
    image: str | None,
    num_nodes: int,
) -> None:
    hub = ModelRef.parse("Qwen/Qwen3-0.6B")
    spec = ModelSpec(ref=replace(hub, name=model, location=location), looked=True)
    plan = plan_of(
        spec, engine_args=tuple(arguments), envs=tuple(envs.items()), image=image, num_nodes=num_nodes
    )
    filled = task_of(plan)
    template = load_template(template_for(plan))
    assert (filled["setup"], filled["run"]) == (template["setup"], template["run"])
    assert yaml.safe_load(text_of(plan)) == filled


@given(st.from_regex(r"[!-+\--~]{12,40}", fullmatch=True))
def test_no_secrets_value_is_in_the_rendered_text(value: str) -> None:
    secret = f"zz{value}zz"
    plan = plan_of(secrets=(("HF_TOKEN", Secret(secret)),), keys=(Secret(secret),))
    assert secret not in text_of(plan)
    assert json.dumps(secret) not in text_of(plan)


@given(st.text(min_size=1))
def test_a_note_stays_a_comment(note: str) -> None:
    plan = replace(plan_of(), notes=(note,))
    assert yaml.safe_load(text_of(plan)) == task_of(plan)


def test_the_text_says_the_command_that_launches_it() -> None:
    head = text_of(plan_of(secrets=(("HF_TOKEN", Secret("x")),))).splitlines()[:3]
    assert head == [
        "# Qwen/Qwen3-0.6B on vllm 0.32.0, rendered by llm-atc 0.1.0 for SkyPilot 0.14.1. Launch it with:",
        "#   sky launch FILE -c demo --secret HF_TOKEN --secret VLLM_API_KEY",
        "# Each secret's value is then taken from your environment; none is written here.",
    ]


def test_the_version_in_the_text_is_the_skypilot_that_is_installed() -> None:
    assert f"for SkyPilot {sky_here.sky.__version__}." in text_of(plan_of())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="least"),
        pytest.param({"place": Place(cloud="gcp", region="us-central1"), "spot": True}, id="spot"),
        pytest.param({"accelerators": (Accelerator(name="L4"), Accelerator(name="A100"))}, id="wishes"),
        pytest.param({"num_nodes": 2}, id="machines"),
        pytest.param({"auth": False}, id="open"),
        pytest.param({"disk_size": 300, "image": "docker:vllm/vllm-openai:v0.32.0"}, id="image"),
        pytest.param({"engine_args": ("--x", "a b", "$(id)", "line\nbreak")}, id="arguments"),
    ],
)
def test_skypilot_reads_what_was_rendered(changes: dict[str, Any]) -> None:
    plan = plan_of(**changes)
    config = yaml.safe_load(text_of(plan))
    sky_here.check_schema(config)
    read = sky_here.read_task(config, dict.fromkeys(plan.secret_names, "sk-12345678"))
    assert (read.name, read.num_nodes) == ("demo", plan.num_nodes)
    assert json.loads(read.envs["ENGINE_ARGS"]) == list(plan.arguments)
    assert set(read.secrets) == set(plan.secret_names)


def test_a_gguf_model_is_filled_into_the_template_of_its_engine() -> None:
    spec = ModelSpec(ref=ModelRef.parse("me/tiny-GGUF"), looked=True, format=Format.GGUF, file="tiny-q4.gguf")
    plan = plan_of(spec)
    assert plan.engine is EngineName.LLAMA_CPP
    assert template_for(plan) in TEMPLATES
