"""Each check before a start: what it says, what it refuses, and what mends it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.architecture import Architecture
from llm_atc.plan.engine import EngineName, Machine
from llm_atc.plan.memory_check import completed, fits
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Runner
from llm_atc.plan.model_config import read_architecture
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.papers import Papers
from llm_atc.plan.places import Place
from llm_atc.plan.plan import make_plan
from llm_atc.plan.preflight import Finding, Grade, Seen, judged
from llm_atc.plan.quantization_check import quantized
from llm_atc.plan.request import Request
from llm_atc.plan.weights import Weights
from llm_atc.store.engine_options import known_models

GIB = 1024**3
LLAMA_7B = read_architecture(
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "torch_dtype": "float16",
    }
)
L4 = Accelerator(name="L4")
HERE = Machine(cpus=8, memory=16 * GIB, disk=100 * GIB)
GOOD = Papers(tokenizer=True, chat_template=True, model_type="llama")


def seen(
    *,
    papers: Papers = GOOD,
    options: dict[str, Any] | None = None,
    accelerator: Accelerator | None = L4,
    accelerators: tuple[Accelerator, ...] = (),
    size: int = 13 * GIB,
    machine: Machine | None = None,
    form: Format = Format.HUGGING_FACE,
    **changes: Any,
) -> Seen:
    assert isinstance(LLAMA_7B, Architecture)
    spec = ModelSpec(
        ref=ModelRef.parse("org/llama"),
        looked=True,
        format=form,
        architecture=changes.pop(
            "architecture", "LlamaForCausalLM" if form is Format.HUGGING_FACE else "llama"
        ),
        runner=changes.pop("runner", Runner.GENERATE),
        bytes=size,
    )
    request = Request(
        model="org/llama",
        place=Place(cloud="local") if machine else Place(cloud="aws"),
        accelerators=accelerators or ((accelerator,) if accelerator and not machine else ()),
        envs=changes.pop("envs", ()),
        disk_size=changes.pop("disk_size", None),
    )
    plan = make_plan(request, spec, machine)
    weights = Weights(bytes=size, parameters=size // 2)
    facts = Facts(spec=spec, architecture=LLAMA_7B, weights=weights, papers=papers)
    return Seen(plan=plan, options=options or {}, facts=facts, known=known_models(plan.engine))


def of(check: str, findings: tuple[Finding, ...]) -> Finding:
    (found,) = (one for one in findings if one.check == check)
    return found


def test_a_good_model_passes_every_check() -> None:
    found = judged(seen(options={"max_model_len": 4096, "tensor_parallel_size": 2}))
    assert {one.check: one.grade for one in found} == dict.fromkeys(
        ("architecture", "tokenizer", "chat", "context", "parallel", "disk"), Grade.OK
    )


REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "unknown architecture": (
        "architecture",
        {"architecture": "MartianForCausalLM"},
        "vllm 0.32.0 does not know the architecture MartianForCausalLM.",
        "another revision of the model, or another format of it",
    ),
    "no tokenizer": (
        "tokenizer",
        {"papers": replace(GOOD, tokenizer=False)},
        "No tokenizer lies beside the weights of org/llama.",
        "add tokenizer.json to the checkpoint, or name another: -- --tokenizer OWNER/NAME",
    ),
    "context too long": (
        "context",
        {"options": {"max_model_len": 8192}},
        "A context of 8192 tokens is asked for, and the model was made for 4096.",
        "--max-model-len 4096",
    ),
    "quantization mismatch": (
        "quantization",
        {"options": {"quantization": "gptq"}, "papers": replace(GOOD, quantization="awq")},
        "The checkpoint is quantized by awq, and gptq is asked for.",
        "leave --quantization away: vLLM reads it from the checkpoint",
    ),
    "quantization of a checkpoint that is not quantized": (
        "quantization",
        {"options": {"quantization": "awq"}, "papers": replace(GOOD, settings=("config.json",))},
        "The checkpoint is not quantized, and awq is asked for.",
        "leave --quantization away, or take a quantized checkpoint",
    ),
    "quantization that vLLM has not": (
        "quantization",
        {"options": {"quantization": "gtpq"}},
        "vLLM 0.32.0 has no quantization called gtpq.",
        "--quantization gptq",
    ),
    "code of its own, not trusted": (
        "architecture",
        {"architecture": "MartianForCausalLM", "papers": replace(GOOD, own_code=True)},
        "vllm 0.32.0 does not know the architecture MartianForCausalLM. The model brings code of its own, "
        "which is not trusted by itself.",
        "--trust-remote-code",
    ),
    "heads that do not divide": (
        "parallel",
        {"options": {"tensor_parallel_size": 3}},
        "32 attention heads cannot be shared by 3 GPUs evenly.",
        "-- --tensor-parallel-size 2",
    ),
    "a small disk": (
        "disk",
        {"size": 140 * GIB, "disk_size": 100},
        "140.0 GiB of weights and the engine do not go on a disk of 100 GiB.",
        "--disk-size 217",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_start_is_refused_with_its_own_cure(case: str) -> None:
    check, changes, says, cure = REFUSED[case]
    one = seen(**changes)
    found = of(check, (*judged(one), *quantized(one)))
    assert (found.grade, found.says, found.cure) == (Grade.REFUSED, says, cure)


WARNED: dict[str, tuple[str, dict[str, Any], Grade, str]] = {
    "no chat template": (
        "chat",
        {"papers": replace(GOOD, chat_template=False)},
        Grade.WARNING,
        "chat requests will be answered with 400, completions work",
    ),
    "a template of vLLM's own": (
        "chat",
        {"papers": replace(GOOD, chat_template=False, model_type="paligemma")},
        Grade.OK,
        "vLLM brings one for paligemma",
    ),
    "a template that was given": (
        "chat",
        {"papers": replace(GOOD, chat_template=False), "options": {"chat_template": "x.jinja"}},
        Grade.OK,
        "A chat template is there.",
    ),
    "llama-server without template": (
        "chat",
        {"papers": replace(GOOD, chat_template=False), "form": Format.GGUF},
        Grade.WARNING,
        "llama-server formats chats as ChatML",
    ),
    "long context that vLLM was told to take": (
        "context",
        {"options": {"max_model_len": 8192}, "envs": (("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"),)},
        Grade.WARNING,
        "lets it start",
    ),
    "long context of a stretched model": (
        "context",
        {"options": {"max_model_len": 8192}, "papers": replace(GOOD, stretched=True)},
        Grade.UNKNOWN,
        "stretches that",
    ),
    "long context under llama-server": (
        "context",
        {"options": {"ctx_size": 8192}, "form": Format.GGUF},
        Grade.WARNING,
        "llama-server caps it",
    ),
    "the same quantization by another kernel": (
        "quantization",
        {"options": {"quantization": "awq_marlin"}, "papers": replace(GOOD, quantization="awq")},
        Grade.OK,
        "awq, as the checkpoint is stored",
    ),
    "a method that takes over from others": (
        "quantization",
        {"options": {"quantization": "moe_wna16"}, "papers": replace(GOOD, quantization="awq")},
        Grade.UNKNOWN,
        "is vLLM's to say",
    ),
    "the same quantization by its newer name": (
        "quantization",
        {"options": {"quantization": "auto_awq"}, "papers": replace(GOOD, quantization="awq")},
        Grade.OK,
        "awq, as the checkpoint is stored",
    ),
    "a checkpoint quantized in a way that vLLM has not": (
        "quantization",
        {"papers": replace(GOOD, quantization="bitsandbytes")},
        Grade.WARNING,
        "quantized by bitsandbytes, which is no method of vLLM 0.32.0",
    ),
    "an architecture of transformers": (
        "architecture",
        {"architecture": "BloomForTokenClassification"},
        Grade.WARNING,
        "It may run through transformers",
    ),
    "an architecture with code of its own": (
        "architecture",
        {
            "architecture": "MartianForCausalLM",
            "papers": replace(GOOD, own_code=True),
            "options": {"trust_remote_code": True},
        },
        Grade.WARNING,
        "It may run through transformers",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_may_start_is_not_refused(case: str) -> None:
    check, changes, grade, says = WARNED[case]
    one = seen(**changes)
    found = of(check, (*judged(one), *quantized(one)))
    assert found.grade is grade, found
    assert says in found.says


@pytest.mark.parametrize(
    ("method", "files"),
    [("fp8", ("config.json",)), ("gptq", ("config.json", "quantize_config.json")), ("awq", ())],
)
def test_a_checkpoint_that_vllm_quantizes_itself_or_that_nobody_looked_at_is_not_refused(
    method: str, files: tuple[str, ...]
) -> None:
    one = seen(options={"quantization": method}, papers=replace(GOOD, settings=files))
    assert [*quantized(one)] == []


def test_an_embedding_model_needs_no_chat_template() -> None:
    found = judged(seen(papers=replace(GOOD, chat_template=False), runner=Runner.POOLING))
    assert "chat" not in {one.check for one in found}


def test_what_does_not_fit_on_any_accelerator_is_refused() -> None:
    (found,) = fits(seen(size=130 * GIB), None)
    assert found.grade is Grade.REFUSED
    assert found.says.startswith("It does not fit on L4:1: weights (")
    assert found.cure is not None


def test_what_fits_is_said_to() -> None:
    (found,) = fits(seen(), None)
    assert found.grade is Grade.OK


def test_a_context_that_does_not_fit_is_refused_with_one_that_does() -> None:
    one = Accelerator(name="V100")
    (found,) = fits(seen(options={"max_model_len": 4096}, accelerator=one), None)
    assert found.grade is Grade.REFUSED
    assert (found.cure or "").startswith("a shorter context: --max-model-len ")


def test_a_context_that_nobody_said_is_made_to_fit() -> None:
    given = seen(accelerator=Accelerator(name="V100"))
    plan = completed(given)
    *_, flag, length = plan.arguments
    assert flag == "--max-model-len"
    assert 1024 <= int(length) < 4096
    assert f"{length} are set" in plan.notes[-1]
    assert completed(seen()) == seen().plan, "on an L4 the model's own context fits"
    said = seen(accelerator=Accelerator(name="V100"), options={"max_model_len": 2000, "dtype": "half"})
    assert completed(said) == said.plan


def test_each_of_several_accelerators_gets_what_it_needs() -> None:
    given = seen(accelerators=(L4, Accelerator(name="T4", count=2)), options={"gpu_memory_utilization": 0.9})
    plan = completed(given)
    base = given.plan.arguments
    four = ("--tensor-parallel-size", "2", "--dtype", "float16")
    assert [(str(one.accelerator), one.arguments) for one in plan.by_accelerator] == [
        ("L4:1", base),
        ("T4:2", (*base, *four)),
    ]
    assert plan.arguments == base
    asked = seen(accelerators=(L4, Accelerator(name="A10G")))
    assert completed(asked) == asked.plan, "nothing differs, so one set is enough"


def test_what_fits_is_judged_with_the_options_of_each_accelerator() -> None:
    two = Accelerator(name="L4", count=2)
    given = seen(accelerators=(two, L4), options={"tensor_parallel_size": 2}, size=26 * GIB)
    assert [one.grade for one in fits(given, None)] == [Grade.OK, Grade.WARNING]
    given = replace(given, facts=seen().facts, sets={L4: {}})
    assert [one.grade for one in fits(given, None)] == [Grade.OK, Grade.OK]


def test_this_machine_has_memory_for_a_model_or_not() -> None:
    (small,) = fits(seen(machine=HERE, size=GIB), HERE)
    (large,) = fits(seen(machine=HERE, size=60 * GIB), HERE)
    assert (small.grade, large.grade) == (Grade.OK, Grade.REFUSED)
    assert "and 16.0 GiB are free on this machine" in large.says


def test_llama_server_may_run_what_is_larger_than_memory() -> None:
    (found,) = fits(seen(machine=HERE, size=60 * GIB, form=Format.GGUF), HERE)
    assert (found.grade, found.check) == (Grade.WARNING, "fit")


@pytest.mark.parametrize(
    ("machine", "ranks", "says"),
    [
        (HERE, 2, "2 processes are asked for, and this machine has 1 NUMA nodes, and no GPU."),
        (replace(HERE, nodes=2), 2, None),
        (
            replace(HERE, gpu="NVIDIA L4", gpus=1),
            2,
            "2 processes are asked for, and this machine has 1 GPUs.",
        ),
        (replace(HERE, gpu="NVIDIA L4", gpus=2), 2, None),
    ],
)
def test_each_process_of_vllm_wants_a_gpu_here_or_a_node_of_the_memory(
    machine: Machine, ranks: int, says: str | None
) -> None:
    one = seen(machine=machine, size=GIB, options={"tensor_parallel_size": ranks})
    told = [found.says for found in fits(one, machine) if found.check == "parallel"]
    assert told == ([says] if says else [])


def test_a_disk_that_may_be_too_small_here_is_warned_of() -> None:
    first, *_ = fits(seen(machine=HERE, size=120 * GIB), HERE)
    assert (first.grade, first.check) == (Grade.WARNING, "disk")


@pytest.mark.parametrize(
    ("gpu", "grade"),
    [("NVIDIA A100-SXM4-80GB", Grade.OK), ("Tesla T4", Grade.REFUSED), ("NVIDIA Z900", Grade.UNKNOWN)],
)
def test_this_machine_s_gpu_is_known_by_nvidia_s_name(gpu: str, grade: Grade) -> None:
    machine = replace(HERE, gpu=gpu, gpus=1)
    (found,) = fits(seen(machine=machine, size=60 * GIB), machine)
    assert found.grade is grade


def test_findings_are_plain_values() -> None:
    found = judged(seen())
    assert json.dumps([one.says for one in found])
    assert seen().plan.engine is EngineName.VLLM
