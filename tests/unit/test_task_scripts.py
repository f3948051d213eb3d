"""The scripts of the task templates, run for real with stand-ins for what they call."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from llm_atc.store.task_templates import load_template
from tests.unit.task_machine import (
    FAILS,
    INSTALLS,
    ONE_MACHINE,
    RECORD,
    SEVERAL_MACHINES,
    TWO_NODES,
    Call,
    Machine,
    serve,
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


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
    machine.stand_in(machine.environment(SEVERAL_MACHINES) / "bin" / "ray", TWO_NODES)
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
    assert sorted(told.arguments[:2] for told in machine.calls("ray")) == [["start", "--head"], ["status"]]
    (first,) = [told for told in machine.calls("ray") if told.arguments[0] == "start"]
    assert "VLLM_API_KEY" not in first.environment, "Ray hands its variables on"


def test_the_keeper_stands_on_the_first_of_several_machines(machine: Machine) -> None:
    call = keep(machine, SEVERAL_MACHINES, VLLM_API_KEY="sk-1", IDLE_MINUTES="5", **cluster(machine))
    cut = call.arguments.index("--")
    assert call.arguments[:cut] == ["--engine-port", "8001", "--key-env", "VLLM_API_KEY"]
    assert call.arguments[cut + 2 :] == [
        *("serve", "meta-llama/Llama-3.1-70B-Instruct", "--host", "127.0.0.1", "--port", "8001"),
        *("--distributed-executor-backend", "ray"),
        *("--tensor-parallel-size", "4", "--pipeline-parallel-size", "2"),
    ]
    assert (call.environment["VLLM_API_KEY"], call.environment["IDLE_MINUTES"]) == ("sk-1", "5")


def test_the_others_end_when_the_first_has_ended_and_say_so_when_it_never_came(machine: Machine) -> None:
    loaded = load_template(SEVERAL_MACHINES)
    environment = loaded["envs"] | loaded["secrets"] | cluster(machine, rank=1)
    ran = machine.run(loaded["run"], environment)
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "[llm-atc] the first machine has ended")
    machine.put(machine.programs / "sleep", "#!/bin/sh\n")
    machine.put(machine.environment(SEVERAL_MACHINES) / "bin" / "ray", "#!/bin/sh\nexit 1\n")
    ran = machine.run(loaded["run"], environment)
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (
        1,
        "[llm-atc] the first machine's Ray could not be joined",
    )


SETS = {
    "T4:1": ["--dtype", "half"],
    "L4:1": ["--a-b", "two words", "$(touch owned)"],
    "L40S:1": ["--large"],
    "A100:1": ["--forty"],
    "A100-80GB:1": ["--eighty"],
    "RTX6000-Ada:1": ["--ada"],
    "RTX6000:1": ["--turing"],
    "L4:2": ["--tensor-parallel-size", "2"],
}


@pytest.mark.parametrize(
    ("told", "count", "arguments"),
    [
        ("Tesla T4, 15360", "1", SETS["T4:1"]),
        ("NVIDIA L4, 23034", "1", SETS["L4:1"]),
        ("NVIDIA L40S, 46068", "1", SETS["L40S:1"]),
        ("NVIDIA A100-SXM4-40GB, 40960", "1", SETS["A100:1"]),
        ("NVIDIA A100-SXM4-80GB, 81920", "1", SETS["A100-80GB:1"]),
        ("NVIDIA RTX 6000 Ada Generation, 49140", "1", SETS["RTX6000-Ada:1"]),
        ("Quadro RTX 6000, 24576", "1", SETS["RTX6000:1"]),
        ("NVIDIA L4, 23034\nNVIDIA L4, 23034", "2", SETS["L4:2"]),
        ("NVIDIA H100 80GB HBM3, 81559", "1", ["--planned", "first"]),  # none of them
        ("no such device", "1", ["--planned", "first"]),
    ],
)
def test_the_options_are_those_of_the_accelerator_that_the_machine_really_has(
    machine: Machine, told: str, count: str, arguments: list[str]
) -> None:
    machine.put(machine.programs / "nvidia-smi", f"#!/bin/sh\ncat <<END\n{told}\nEND\n")
    call = serve(
        machine,
        ENGINE_ARGS='["--planned", "first"]',
        ENGINE_ARGS_BY_ACCELERATOR=json.dumps(SETS),
        SKYPILOT_NUM_GPUS_PER_NODE=count,
    )
    assert call.arguments[-len(arguments) :] == arguments
    assert call.arguments.count("--tensor-parallel-size") == int(count) - 1
    assert not (machine.home / "owned").exists()


def test_their_number_alone_tells_accelerators_apart_where_nothing_else_does(machine: Machine) -> None:
    sets = {"A100:1": ["--large"], "L4:2": ["--tensor-parallel-size", "2"]}
    call = serve(machine, ENGINE_ARGS_BY_ACCELERATOR=json.dumps(sets), SKYPILOT_NUM_GPUS_PER_NODE="2")
    assert call.arguments[-2:] == ["--tensor-parallel-size", "2"]


def test_the_other_machines_join_the_first(machine: Machine) -> None:
    loaded = load_template(SEVERAL_MACHINES)
    ran = machine.run(loaded["run"], loaded["envs"] | loaded["secrets"] | cluster(machine, rank=1))
    assert ran.returncode == 0
    (start,) = [call for call in machine.calls("ray") if call.arguments[0] == "start"]
    assert start.arguments == ["start", "--address", "10.0.0.1:6479", "--num-gpus", "4", "--block"]
    assert start.environment["VLLM_HOST_IP"] == "10.0.0.2"


@pytest.mark.parametrize("template", [ONE_MACHINE, SEVERAL_MACHINES])
def test_set_up_installs_what_was_asked_for_and_then_says_so(machine: Machine, template: str) -> None:
    engine = machine.environment(template)
    machine.stand_in(machine.programs / "uv", INSTALLS)
    (engine / "stale").mkdir(parents=True)
    loaded = load_template(template)
    requirements = ["vllm==0.32.0", "a b; python_version > '3'", "$(touch owned)"]
    ran = machine.run(loaded["setup"], loaded["envs"] | {"ENGINE_REQUIREMENTS": json.dumps(requirements)})
    assert (ran.returncode, ran.stdout) == (0, "[llm-atc] stage: set up\n")
    venv, pip = machine.calls("uv")
    assert (venv.arguments[0], venv.arguments[-1]) == ("venv", str(engine))
    assert pip.arguments[:4] == ["pip", "install", "--python", f"{engine}/bin/python"]
    assert pip.arguments[-3:] == requirements
    assert (engine / ".complete").read_text() == "0.32.0\n"
    assert not (engine / "stale").exists()
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
    machine.put(machine.environment(template) / ".complete", "0.1.0\n")
    assert machine.run(loaded["setup"], loaded["envs"]).returncode == 7
    assert not (machine.environment(template) / ".complete").exists()


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


# With llm-atc's own package beside the engine.

KEYS = {"vllm.yaml": "VLLM_API_KEY", "llama_cpp.yaml": "LLAMA_API_KEY"}


def keep(machine: Machine, template: str, **envs: str) -> Call:
    """Run the template's `run` where the package is; how its keeper was called."""
    engine = machine.environment(template)
    machine.stand_in(engine / "bin" / "vllm")
    machine.stand_in(engine / "bin" / "llama-server")
    python = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    machine.put(engine / "bin" / "python3", python)
    machine.put(engine / "bin" / "python", python)
    package = machine.home / ".llm-atc" / "relay" / "llm_atc"
    machine.put(package / "__init__.py", "")
    machine.put(package / "keeper" / "__init__.py", "")
    record = RECORD.format(python=sys.executable, name="keeper", then="")
    machine.put(package / "keeper" / "__main__.py", record)
    loaded = load_template(template)
    ran = machine.run(loaded["run"], loaded["envs"] | loaded["secrets"] | envs)
    assert ran.returncode == 0, ran.stderr
    assert machine.calls("vllm") == machine.calls("llama-server") == []
    (call,) = machine.calls("keeper")
    return call


@pytest.mark.parametrize("template", KEYS)
def test_the_keeper_gets_the_engines_words_and_the_keys_by_name(machine: Machine, template: str) -> None:
    arguments = ["it's", "$(touch owned)", "a\nb", ""]
    given = {
        "MODEL": "/m.gguf",
        "MODEL_FILE": "",
        "ENGINE_ARGS": json.dumps(arguments),
        KEYS[template]: "sk-1,sk-2",
    }
    call = keep(machine, template, **given, IDLE_MINUTES="5", TTL_SECONDS="60", RELAY_ARGS='["--x"]')
    cut = call.arguments.index("--")
    assert call.arguments[:cut] == ["--engine-port", "8001", "--key-env", KEYS[template]]
    program, *rest = call.arguments[cut + 1 :]
    assert Path(program).name == ("vllm" if template == ONE_MACHINE else "llama-server")
    serves = ["serve", "/m.gguf"] if template == ONE_MACHINE else ["-m", "/m.gguf"]
    assert rest == [*serves, "--host", "127.0.0.1", "--port", "8001", *arguments]
    assert call.environment[KEYS[template]] == "sk-1,sk-2"
    told = [call.environment[name] for name in ("PORT", "IDLE_MINUTES", "TTL_SECONDS", "RELAY_ARGS")]
    assert told == ["8000", "5", "60", '["--x"]']
    assert call.environment["PYTHONPATH"] == f"{machine.home}/.llm-atc/relay"
    assert not (machine.home / "owned").exists()


def test_the_engines_port_is_another_also_at_the_end_of_the_ports(machine: Machine) -> None:
    assert keep(machine, ONE_MACHINE, PORT="65535").option("--engine-port") == "65534"


def test_a_users_own_path_of_python_stays_behind_the_keepers(machine: Machine) -> None:
    call = keep(machine, ONE_MACHINE, PYTHONPATH="/mine")
    assert call.environment["PYTHONPATH"] == f"{machine.home}/.llm-atc/relay:/mine"
