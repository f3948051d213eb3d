"""Plans as SkyPilot tasks, and the templates' scripts, run for real with stand-ins for uv, vLLM and Ray."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_atc.access import Secret
from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.engine import EngineName
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.plan import RESERVED, Plan, check_engine_args, make_plan
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


def test_a_plan_fills_the_structure() -> None:
    plan = plan_of(
        place=Place(cloud="gcp", region="us-central1"),
        accelerators=(Accelerator(name="L4", count=2), Accelerator(name="A100", count=2)),
        spot=True,
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
        "use_spot": True,
        "disk_size": 300,
        "image_id": "docker:vllm/vllm-openai:v0.32.0",
        "ports": 9000,
    }
    arguments = (
        '["--served-model-name", "Qwen/Qwen3-0.6B", "--tensor-parallel-size", "2", "--max-model-len", "4096"]'
    )
    assert filled["envs"] == {
        "MODEL": "Qwen/Qwen3-0.6B",
        "PORT": "9000",
        "AUTH": "key",
        "ENGINE_VERSION": "0.32.0",
        "ENGINE_REQUIREMENTS": '["vllm==0.32.0"]',
        "ENGINE_ARGS": arguments,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "DEBUG",
    }
    assert filled["secrets"] == {"HF_TOKEN": None, "VLLM_API_KEY": None}


def test_what_was_left_to_skypilot_is_not_said() -> None:
    assert task_of(plan_of())["resources"] == {"accelerators": "L4:1", "ports": 8000}


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
    assert json.loads(read["envs"]["ENGINE_ARGS"]) == ["--served-model-name", "Qwen/Qwen3-0.6B", *arguments]


@settings(max_examples=60)
@given(
    model=model_names,
    location=texts,
    arguments=engine_arguments,
    envs=st.dictionaries(variables, lines),
    image=st.none() | texts,
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


# The scripts, run.

RECORD = """#!{python}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
files = {{}}
for flag, path in zip(arguments, arguments[1:]):
    if flag == "--config":
        files[path] = [oct(os.stat(path).st_mode & 0o777), Path(path).read_text()]
with open(os.environ["HOME"] + "/{name}.jsonl", "a") as record:
    print(json.dumps([arguments, dict(os.environ), files]), file=record)
{then}
"""
INSTALLS = "os.makedirs(arguments[-1] + '/bin') if arguments[0] == 'venv' else None"
FAILS = "sys.exit(7 if arguments[0] == 'pip' else 0)"
TWO_NODES = "print('node_1\\nnode_2\\nPending:') if arguments[0] == 'status' else None"


@dataclass(frozen=True)
class Call:
    """One run of a stand-in: its arguments, its environment, and the files that --config named."""

    arguments: list[str]
    environment: dict[str, str]
    files: dict[str, list[str]]

    def option(self, name: str) -> str | None:
        """The word that follows this option."""
        return self.arguments[self.arguments.index(name) + 1] if name in self.arguments else None


class Machine:
    """A home directory with stand-ins, in which a task's script runs with nothing else of this machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.programs = home / "programs"
        self.engine = home / ".llm-atc" / "engines" / "vllm-0.32.0"
        self.put(self.programs / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    def put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def stand_in(self, path: Path, then: str = "") -> None:
        """Put a program there that records how it was called, and then does what `then` says."""
        self.put(path, RECORD.format(python=sys.executable, name=path.name, then=then))

    def run(self, script: str, envs: dict[str, str]) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": f"{self.programs}:/usr/bin:/bin"} | envs
        return subprocess.run(
            [BASH, "-c", script],
            env=environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, program: str) -> list[Call]:
        """How a stand-in was called, first call first."""
        record = self.home / f"{program}.jsonl"
        return (
            [Call(*json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def serve(machine: Machine, template: str = ONE_MACHINE, **envs: str) -> Call:
    """Run the template's `run` with these variables; how vLLM was called."""
    machine.stand_in(machine.engine / "bin" / "vllm")
    loaded = load_template(template)
    ran = machine.run(loaded["run"], loaded["envs"] | loaded["secrets"] | envs)
    assert ran.stdout.splitlines()[-1:] == ["[llm-atc] the engine ended with code 0"], ran.stderr
    assert ran.returncode == 1, "an engine's end is always a failure, although it said 0"
    (call,) = machine.calls("vllm")
    assert not any(Path(path).exists() for path in call.files), (
        "a file of keys stays no longer than its engine"
    )
    return call


def test_one_key_reaches_vllm_by_its_environment_only(machine: Machine) -> None:
    call = serve(machine, VLLM_API_KEY="sk-one-key-only")
    assert call.environment["VLLM_API_KEY"] == "sk-one-key-only"
    assert "sk-one-key-only" not in " ".join(call.arguments)
    assert call.arguments == ["serve", "Qwen/Qwen3-0.6B", "--host", "0.0.0.0", "--port", "8000"]


@pytest.mark.parametrize("template", [ONE_MACHINE, SEVERAL_MACHINES])
def test_several_keys_reach_vllm_by_a_file_that_its_user_alone_can_read(
    machine: Machine, template: str
) -> None:
    several = {"template": template, "VLLM_API_KEY": 'sk-first-key,sk-"second"-key'}
    call = serve(machine, **(several if template == ONE_MACHINE else several | cluster(machine)))
    ((path, (mode, text)),) = call.files.items()
    assert call.option("--config") == path
    assert mode == "0o600"
    assert json.loads(text) == {"api-key": ["sk-first-key", 'sk-"second"-key']}
    assert "VLLM_API_KEY" not in call.environment
    assert "sk-first-key" not in " ".join(call.arguments) + str(call.environment)


def test_an_open_endpoint_takes_no_key_and_listens_to_all(machine: Machine) -> None:
    call = serve(machine, AUTH="none", VLLM_API_KEY="sk-left-over-key")
    assert "VLLM_API_KEY" not in call.environment
    assert call.option("--host") == "0.0.0.0"
    assert call.files == {}


def test_an_endpoint_that_should_have_a_key_and_has_none_listens_to_this_machine_only(
    machine: Machine,
) -> None:
    call = serve(machine)
    assert call.option("--host") == "127.0.0.1"
    assert "VLLM_API_KEY" not in call.environment


def test_engine_arguments_arrive_untouched(machine: Machine) -> None:
    arguments = [
        *("--hf-overrides", '{"a": "b c"}'),
        *(
            "it's",
            "$(touch owned)",
            "`touch owned`",
            "; touch owned",
            "a\nb",
            "",
            " ",
            "*",
            "~",
            "ünï",
            "\\n",
        ),
    ]
    call = serve(machine, ENGINE_ARGS=json.dumps(arguments))
    assert call.arguments[:6] == ["serve", "Qwen/Qwen3-0.6B", "--host", "127.0.0.1", "--port", "8000"]
    assert call.arguments[6:] == arguments
    assert not (machine.home / "owned").exists()


def test_a_models_name_arrives_untouched(machine: Machine) -> None:
    call = serve(machine, MODEL="me/$(touch owned) 'x'", PORT="9000")
    assert call.arguments[:2] == ["serve", "me/$(touch owned) 'x'"]
    assert call.option("--port") == "9000"
    assert not (machine.home / "owned").exists()


def test_a_checkpoints_path_is_below_the_machines_own_home(machine: Machine) -> None:
    call = serve(machine, MODEL="~/.llm-atc/checkpoints/tiny")
    assert call.arguments[1] == f"{machine.home}/.llm-atc/checkpoints/tiny"


@pytest.mark.parametrize(
    ("gpus", "given_args", "parallel"),
    [
        ("4", [], ["--tensor-parallel-size", "4"]),
        ("1", [], []),
        ("0", [], []),
        ("4", ["--tensor-parallel-size", "2"], ["--tensor-parallel-size", "2"]),
        ("4", ["--tensor-parallel-size=2"], ["--tensor-parallel-size=2"]),
        ("4", ["-tp", "2"], ["-tp", "2"]),
    ],
)
def test_every_accelerator_is_used_unless_the_arguments_say_otherwise(
    machine: Machine, gpus: str, given_args: list[str], parallel: list[str]
) -> None:
    call = serve(machine, SKYPILOT_NUM_GPUS_PER_NODE=gpus, ENGINE_ARGS=json.dumps(given_args))
    assert call.arguments[6:] == parallel


@pytest.mark.parametrize(("token", "seen"), [("hf_abc", "hf_abc"), ("", None)])
def test_a_hub_token_is_told_only_when_there_is_one(machine: Machine, token: str, seen: str | None) -> None:
    assert serve(machine, HF_TOKEN=token).environment.get("HF_TOKEN") == seen


def test_an_images_own_vllm_is_used_where_no_other_is(machine: Machine) -> None:
    machine.stand_in(machine.programs / "vllm")
    loaded = load_template(ONE_MACHINE)
    assert machine.run(loaded["setup"], loaded["envs"]).returncode == 0
    assert machine.run(loaded["run"], loaded["envs"] | loaded["secrets"]).returncode == 1
    assert [call.arguments[0] for call in machine.calls("vllm")] == ["serve"]


def cluster(machine: Machine, rank: int = 0) -> dict[str, str]:
    """What SkyPilot tells one machine of two with four accelerators each, where Ray is a stand-in."""
    machine.stand_in(machine.engine / "bin" / "ray", TWO_NODES)
    return {
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NODE_RANK": str(rank),
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "4",
    }


def test_the_first_of_several_machines_serves_on_all(machine: Machine) -> None:
    call = serve(machine, SEVERAL_MACHINES, VLLM_API_KEY="sk-12345678", **cluster(machine))
    assert (call.option("--tensor-parallel-size"), call.option("--pipeline-parallel-size")) == ("4", "2")
    assert call.option("--distributed-executor-backend") == "ray"
    assert (call.environment["RAY_ADDRESS"], call.environment["VLLM_HOST_IP"]) == (
        "10.0.0.1:6479",
        "10.0.0.1",
    )
    assert [told.arguments[:2] for told in machine.calls("ray")] == [["start", "--head"], ["status"]]


def test_the_other_machines_join_the_first(machine: Machine) -> None:
    loaded = load_template(SEVERAL_MACHINES)
    ran = machine.run(loaded["run"], loaded["envs"] | loaded["secrets"] | cluster(machine, rank=1))
    assert ran.returncode == 0
    start = machine.calls("ray")[-1]
    assert start.arguments == ["start", "--address", "10.0.0.1:6479", "--num-gpus", "4", "--block"]
    assert start.environment["VLLM_HOST_IP"] == "10.0.0.2"


MARKS = {ONE_MACHINE: "0.32.0", SEVERAL_MACHINES: "0.32.0+ray"}


@pytest.mark.parametrize("template", [ONE_MACHINE, SEVERAL_MACHINES])
def test_set_up_installs_what_was_asked_for_and_then_says_so(machine: Machine, template: str) -> None:
    machine.stand_in(machine.programs / "uv", INSTALLS)
    (machine.engine / "stale").mkdir(parents=True)
    loaded = load_template(template)
    requirements = ["vllm==0.32.0", "a b; python_version > '3'", "$(touch owned)"]
    ran = machine.run(loaded["setup"], loaded["envs"] | {"ENGINE_REQUIREMENTS": json.dumps(requirements)})
    assert (ran.returncode, ran.stdout) == (0, "[llm-atc] stage: set up\n")
    venv, pip = machine.calls("uv")
    assert (venv.arguments[0], venv.arguments[-1]) == ("venv", str(machine.engine))
    assert pip.arguments[:4] == ["pip", "install", "--python", f"{machine.engine}/bin/python"]
    assert pip.arguments[-3:] == requirements
    assert (machine.engine / ".complete").read_text() == f"{MARKS[template]}\n"
    assert not (machine.engine / "stale").exists()
    assert not (machine.home / "owned").exists()


@pytest.mark.parametrize("template", [ONE_MACHINE, SEVERAL_MACHINES])
def test_set_up_does_nothing_the_second_time(machine: Machine, template: str) -> None:
    machine.stand_in(machine.programs / "uv", INSTALLS)
    loaded = load_template(template)
    for _ in range(2):
        assert machine.run(loaded["setup"], loaded["envs"]).returncode == 0
    assert len(machine.calls("uv")) == 2


@pytest.mark.parametrize("template", [ONE_MACHINE, SEVERAL_MACHINES])
def test_an_installation_that_failed_is_not_called_complete(machine: Machine, template: str) -> None:
    machine.stand_in(machine.programs / "uv", FAILS)
    loaded = load_template(template)
    machine.put(machine.engine / ".complete", "0.1.0\n")
    assert machine.run(loaded["setup"], loaded["envs"]).returncode == 7
    assert not (machine.engine / ".complete").exists()


def test_set_up_gets_uv_where_there_is_none(machine: Machine) -> None:
    uv = machine.home / ".local" / "bin" / "uv"
    machine.stand_in(machine.home / "uv", INSTALLS)
    python = (
        f'[ "$1" != -m ] || {{ mkdir -p {uv.parent}; cp {machine.home}/uv {uv}; echo "$@" > pip; exit 0; }}'
    )
    machine.put(machine.programs / "python3", f'#!/bin/sh\n{python}\nexec {sys.executable} "$@"\n')
    for tool in ("cat", "rm", "cp", "mkdir"):
        (machine.programs / tool).symlink_to(Path("/bin") / tool)
    loaded = load_template(ONE_MACHINE)
    ran = machine.run(loaded["setup"], loaded["envs"] | {"PATH": str(machine.programs)})
    assert ran.returncode == 0, ran.stderr
    assert (machine.home / "pip").read_text() == "-m pip install --quiet --user uv\n"
    assert len(machine.calls("uv")) == 2


def test_a_key_file_is_never_open_to_others_whatever_the_umask(machine: Machine) -> None:
    before = os.umask(0)
    try:
        call = serve(machine, VLLM_API_KEY="sk-first-key,sk-second-key")
    finally:
        os.umask(before)
    assert [mode for mode, _ in call.files.values()] == [oct(stat.S_IRUSR | stat.S_IWUSR)]


def test_a_gguf_model_is_filled_into_the_template_of_its_engine() -> None:
    spec = ModelSpec(ref=ModelRef.parse("me/tiny-GGUF"), looked=True, format=Format.GGUF, file="tiny-q4.gguf")
    plan = plan_of(spec)
    assert plan.engine is EngineName.LLAMA_CPP
    assert template_for(plan) in TEMPLATES
