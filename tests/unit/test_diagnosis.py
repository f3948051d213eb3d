"""Why an engine ended, read from the log that it left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.plan.diagnosis import clean, diagnose

GENERIC = (
    "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}"
)
NO_FIT = "The model and its KV cache do not fit into the memory."
PARALLEL = "The tensor parallel size does not suit this machine or this model."
KILLED = "The system killed a process of the engine, as it does when memory runs out."


def vllm_log(*decisive: str) -> str:
    """What vLLM prints when its core ends: a banner, the cause, then tracebacks that say nothing of it."""
    core = "(EngineCore_DP0 pid=4242) "
    error = core + "ERROR 11-21 01:02:09 [core.py:936] "
    server = "(APIServer pid=4100) "
    return "\n".join(
        [
            f"{server}INFO 11-21 01:01:58 [api_server.py:1977] vLLM API server version 0.32.0",
            f"{server}INFO 11-21 01:01:58 [utils.py:233] non-default args: {{'model': 'm', 'port': 8000}}",
            f"{server}INFO 11-21 01:02:01 [model.py:514] Resolved architecture: LlamaForCausalLM",
            f"{core}INFO 11-21 01:02:05 [core.py:93] Initializing a V1 LLM engine (v0.32.0) with config: "
            "model='m', trust_remote_code=True, dtype=torch.bfloat16, max_seq_len=2048",
            f"{error}EngineCore failed to start.",
            f"{error}Traceback (most recent call last):",
            f'{error}  File "/root/.llm-atc/engines/vllm-0.32.0/vllm/v1/engine/core.py"',
            *(error + line for line in decisive),
            f"{server}Traceback (most recent call last):",
            f'{server}  File "/root/.llm-atc/engines/vllm-0.32.0/bin/vllm", line 10, in <module>',
            f"{server}    raise RuntimeError(",
            f"{server}RuntimeError: {GENERIC}",
            "[llm-atc] the engine ended with code 1",
        ]
    )


# What only machines with a GPU print, from the pinned version's source; what this one prints is in
# test_engine_logs.py.
VLLM = {
    "no credentials for the bucket": (
        "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
        "The machine may not read the bucket that the weights are streamed from.",
    ),
    "a bucket that is not ours": (
        "botocore.exceptions.ClientError: An error occurred (403) when calling the HeadBucket operation",
        "The machine may not read the bucket that the weights are streamed from.",
    ),
    "KV cache for one request larger than memory": (
        "ValueError: To serve at least one request with the models's max seq len (131072), (14.00 GiB KV "
        "cache is needed, which is larger than the available KV cache memory (3.21 GiB).",
        NO_FIT,
    ),
    "out of GPU memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total "
        "capacity of 22.06 GiB of which 125.38 MiB is free.",
        NO_FIT,
    ),
    "memory fraction not free": (
        "ValueError: Free memory on device cuda:0 (5.3/22.06 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 20.3 GiB). Decrease GPU memory utilization or reduce GPU memory used.",
        "Something else holds the memory that the engine wants.",
    ),
    "tensor parallel beyond the machine": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig\n"
        "  Value error, World size (8) is larger than the number of available GPUs (4) in this node.",
        PARALLEL,
    ),
    "tensor parallel that does not divide a layer": ("AssertionError: 14 is not divisible by 4", PARALLEL),
    "tensor parallel that does not divide quantized groups": (
        "ValueError: Weight input_size_per_partition=2368 for layer 'mlp' is not divisible by "
        "group_size=128. This happens when tensor_parallel_size splits the layer input into shards.",
        PARALLEL,
    ),
    "quantization that this GPU has not": (
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: "
        "89. Current capability: 75.",
        "This machine cannot compute with the checkpoint's quantization.",
    ),
    "quantization in another type of numbers": (
        "ValueError: torch.bfloat16 is not supported for quantization method awq. Supported dtypes: "
        "[torch.float16]",
        "The checkpoint's quantization does not go with this type of numbers.",
    ),
    "no GPU": (
        "RuntimeError: Failed to infer device type, please set the environment variable "
        "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue.",
        "The engine finds no GPU on the machine.",
    ),
    "worker killed": (
        "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.",
        KILLED,
    ),
    "no bfloat16": (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla "
        "T4 GPU has compute capability 7.5. You can use float16 instead by setting the `dtype` flag.",
        "The accelerator has no bfloat16.",
    ),
    "accelerator too old": (
        "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
        "The accelerator is too old for this engine.",
    ),
    "driver too old": (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
        "The machine's NVIDIA driver is older than the engine needs.",
    ),
    "broken installation": (
        "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory",
        "The engine's installation is broken.",
    ),
    "disk full": (
        "RuntimeError: Data processing error: File reconstruction error: IO Error: No space left on device "
        "(os error 28)",
        "The disk is full.",
    ),
}


@pytest.mark.parametrize("failure", VLLM)
def test_a_vllm_that_fails_is_explained_by_its_cause(failure: str) -> None:
    decisive, cause = VLLM[failure]
    found = diagnose(vllm_log(*decisive.splitlines()))
    assert found.cause == cause
    assert found.advice
    assert any(line in "\n".join(found.lines) for line in decisive.splitlines())
    assert not any("See root cause above" in line for line in found.lines)


def test_trust_that_was_given_is_not_taken_for_trust_that_is_missing() -> None:
    log = vllm_log("Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.")
    assert "trust_remote_code=True" in log
    assert diagnose(log).cause == KILLED


def test_a_failure_that_nobody_knows_shows_the_lines_that_complain_but_not_the_generic_one() -> None:
    found = diagnose(vllm_log("ZeroDivisionError: the flux capacitor failed"))
    assert found.cause == "The engine ended before it answered."
    assert any("ZeroDivisionError: the flux capacitor failed" in line for line in found.lines)
    assert not any("See root cause above" in line or "Traceback" in line for line in found.lines)


def test_a_log_without_complaints_shows_its_end() -> None:
    found = diagnose("one\n\ntwo\nthree\n")
    assert found.lines == ("one", "two", "three")


def test_an_empty_log_is_said_to_tell_nothing() -> None:
    found = diagnose("")
    assert (found.cause, found.lines) == ("The engine ended before it answered.", ())


def test_a_line_that_is_repeated_by_every_worker_is_shown_once() -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory."
    log = "\n".join(f"(Worker_TP{rank} pid={rank}) {line}" for rank in range(8))
    assert diagnose(log).lines == (line,)


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("\x1b[1;36m(APIServer pid=7)\x1b[0;0m INFO started", "INFO started"),
        ("(demo, pid=123) (EngineCore_DP0 pid=7) ValueError: no  ", "ValueError: no"),
        ("[rank0]: RuntimeError: broken", "RuntimeError: broken"),
        ("lora-rank8.safetensors: Error", "lora-rank8.safetensors: Error"),
        ("[llm-atc] stage: weights", "[llm-atc] stage: weights"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_a_line_is_shown_without_colours_and_processes(line: str, cleaned: str) -> None:
    assert clean(line) == cleaned


@given(st.text())
def test_any_log_gets_a_cause_and_an_advice(log: str) -> None:
    found = diagnose(log)
    assert found.cause
    assert found.advice
    assert len(found.lines) <= 8
