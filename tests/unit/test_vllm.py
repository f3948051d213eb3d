"""vLLM: its pinned versions and its command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.plan import vllm
from llm_atc.plan.accelerators import CHIPS, Accelerator
from llm_atc.plan.engine import Machine
from llm_atc.plan.inference import Inference
from llm_atc.plan.model import ModelRef, ModelSpec, Runner

GIB = 1024**3
SPEC = ModelSpec(ref=ModelRef.parse("Qwen/Qwen3-0.6B"), looked=True)
accelerators = st.lists(st.sampled_from(sorted(CHIPS)).map(lambda name: Accelerator(name=name)), max_size=4)


def pin_of(*names: str) -> str | None:
    pinned = vllm.pin_for(tuple(Accelerator(name=name) for name in names))
    return pinned.pin.version if pinned else None


@pytest.mark.parametrize("name", ["T4", "A100", "L4", "H100", "H200", "B200", "RTX4090"])
def test_current_accelerators_get_the_current_vllm(name: str) -> None:
    assert pin_of(name) == "0.32.0"


@pytest.mark.parametrize("names", [("K80",), ("P100",), ("H100", "P4")])
def test_an_accelerator_that_no_build_has_code_for_gets_none(names: tuple[str, ...]) -> None:
    assert pin_of(*names) is None


def test_the_oldest_accelerator_of_a_choice_decides() -> None:
    assert pin_of("V100") == pin_of("H100", "V100") == "0.19.1"


def test_an_accelerator_that_is_not_in_the_table_counts_as_a_current_one() -> None:
    assert pin_of("X9000") == "0.32.0"
    assert pin_of() == "0.32.0"


@given(accelerators)
def test_a_pin_runs_on_every_one_of_the_accelerators_and_no_newer_pin_would(
    wanted: list[Accelerator],
) -> None:
    pinned = vllm.pin_for(tuple(wanted))
    oldest = min((a.chip.capability for a in wanted if a.chip), default=vllm.CURRENT.lowest)
    fitting = [p for p in vllm.PINS if p.lowest <= oldest]
    assert pinned == (fitting[0] if fitting else None)


def test_the_pins_stand_newest_first_and_reach_ever_older_accelerators() -> None:
    versions = [tuple(map(int, p.pin.version.split("."))) for p in vllm.PINS]
    assert versions == sorted(versions, reverse=True)
    assert [p.lowest for p in vllm.PINS] == sorted((p.lowest for p in vllm.PINS), reverse=True)


@pytest.mark.parametrize("pin", [p.pin for p in vllm.PINS] + [vllm.CPU_PIN])
def test_every_pin_asks_for_exactly_its_version(pin: vllm.Pin) -> None:
    assert pin.requirements[0].endswith(f"=={pin.version}")
    assert pin.environment == f"vllm-{pin.version}"


def test_a_model_is_served_by_its_name() -> None:
    assert vllm.arguments(SPEC, tensor_parallel=1) == ("--served-model-name", "Qwen/Qwen3-0.6B")


def test_revision_accelerators_and_pooling_are_told() -> None:
    spec = ModelSpec(ref=SPEC.ref, looked=True, revision="abc123", runner=Runner.POOLING)
    assert vllm.arguments(spec, tensor_parallel=4) == (
        *("--served-model-name", "Qwen/Qwen3-0.6B"),
        *("--revision", "abc123"),
        *("--tensor-parallel-size", "4"),
        *("--runner", "pooling"),
    )


@pytest.mark.parametrize(
    ("free", "cache"), [(100 * GIB, 4 * GIB), (8 * GIB, 2 * GIB), (GIB, GIB // 4), (0, GIB // 4)]
)
def test_without_a_gpu_a_quarter_of_the_free_memory_is_cache(free: int, cache: int) -> None:
    found = vllm.cpu_arguments(Machine(cpus=2, memory=free), Inference(), ())
    assert found == ("--kv-cache-memory-bytes", str(cache))


@pytest.mark.parametrize("given_args", [("--kv-cache-memory-bytes", "1G"), ("--kv-cache-memory-bytes=1G",)])
def test_a_cache_that_the_user_sized_is_left_alone(given_args: tuple[str, ...]) -> None:
    assert vllm.cpu_arguments(Machine(cpus=2, memory=GIB), Inference(), given_args) == ()


def test_a_share_of_memory_that_was_asked_for_stands_in_for_the_cache() -> None:
    asked = Inference(gpu_memory=0.5)
    assert vllm.cpu_arguments(Machine(cpus=2, memory=GIB), asked, ()) == ()
    assert vllm.memory_arguments(asked, ()) == ()


def test_of_a_gpus_memory_nine_tenths_are_taken_unless_the_engine_was_told_otherwise() -> None:
    assert vllm.memory_arguments(Inference(), ()) == ("--gpu-memory-utilization", "0.9")
    assert vllm.memory_arguments(Inference(), ("--gpu_memory_utilization=0.5",)) == ()


def test_without_a_compiler_nothing_is_compiled() -> None:
    assert vllm.cpu_environment(Machine(cpus=2, memory=GIB)) == (("TORCH_COMPILE_DISABLE", "1"),)
    assert vllm.cpu_environment(Machine(cpus=2, memory=GIB, compiler=True)) == ()
