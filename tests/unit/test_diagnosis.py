"""Why an engine ended, read from the log that it left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.plan.diagnosis import clean, diagnose

GENERIC = (
    "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}"
)
HUB = "The model hub could not be reached from the machine."
NO_MODEL = "The directory holds no model that vLLM can read."
NO_FIT = "The model and its KV cache do not fit into the memory."
HELD = "Something else holds the memory that the engine wants."
PORT = "The port is taken by another program."
DAMAGED = "A weight file is damaged or cut short."
OPTION = "The engine does not take one of its options."
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


def server_log(*decisive: str, last: str = "main: exiting due to model loading error") -> str:
    """What llama-server prints when it cannot start."""
    return "\n".join(
        [
            "build: 0 (unknown) with cc (Debian 12.2.0-14) 12.2.0 for x86_64-linux-gnu",
            "system info: n_threads = 2, n_threads_batch = 2, total_threads = 2",
            "main: loading model",
            "srv    load_model: loading model '/models/tiny.gguf'",
            *decisive,
            last,
        ]
    )


VLLM = {
    "missing directory, relative, or no network": (
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them "
        "in the cached files.",
        HUB,
    ),
    "missing directory, absolute": (
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or "
        "'namespace/repo_name': '/models/absent'. Use `repo_type` argument if needed.",
        NO_MODEL,
    ),
    "offline, not cached": (
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder "
        "for the specified revision on the local disk and outgoing traffic has been disabled.",
        HUB,
    ),
    "gated": (
        "OSError: You are trying to access a gated repo.\n"
        "403 Client Error. (Request ID: Root=1-6)\n"
        "Cannot access gated repo for url https://huggingface.co/meta-llama/Llama-3.1-8B/resolve/main/config.json.",
        "The repository is gated, and the token may not read it.",
    ),
    "absent": (
        "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'",
        "The hub has no such repository, or the token may not see it.",
    ),
    "context too long": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, User-specified max_model_len (999999) is greater than the derived max_model_len "
        "(max_position_embeddings=2048 or model_max_length=None in model's config.json).",
        "The context asked for is longer than the model's own.",
    ),
    "port taken": (
        "OSError: [Errno 98] Address already in use",
        PORT,
    ),
    "KV cache larger than memory": (
        "ValueError: Your current kv cache allocation is less than requested memory for kv (4.0 GiB)",
        NO_FIT,
    ),
    "KV cache for one request larger than memory": (
        "ValueError: To serve at least one request with the models's max seq len (131072), (14.00 GiB KV "
        "cache is needed, which is larger than the available KV cache memory (3.21 GiB).",
        NO_FIT,
    ),
    "no room for any KV block": (
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
        "initializing the engine.",
        NO_FIT,
    ),
    "out of GPU memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total "
        "capacity of 22.06 GiB of which 125.38 MiB is free.",
        NO_FIT,
    ),
    "memory fraction not free, CPU": (
        "ValueError: Available memory on node 0 (3.1/23.4 GiB) on startup is less than desired CPU memory "
        "utilization (0.92, 21.5 GiB).",
        HELD,
    ),
    "memory fraction not free, GPU": (
        "ValueError: Free memory on device cuda:0 (5.3/22.06 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 20.3 GiB). Decrease GPU memory utilization or reduce GPU memory used.",
        HELD,
    ),
    "a GGUF file": (
        "OSError: It looks like the config file at '/models/tiny.gguf' is not a valid JSON file.",
        NO_MODEL,
    ),
    "a directory that holds only GGUF": (
        "ValueError: Invalid repository ID or local directory specified: '/models/tiny'.\n"
        "Please verify the following requirements:\n"
        "1. Provide a valid Hugging Face repository ID.",
        NO_MODEL,
    ),
    "truncated weights": (
        "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not "
        "fully covered",
        DAMAGED,
    ),
    "no weights": (
        "RuntimeError: Cannot find any model weights with `/models/tiny`",
        "There are no weights beside the configuration.",
    ),
    "unknown architecture": (
        "ValueError: The checkpoint you are trying to load has model type `martian` but Transformers does "
        "not recognize this architecture. This could be because of an issue with the checkpoint.\n"
        "You can update Transformers with the command `pip install --upgrade transformers`.",
        "The pinned vLLM does not know this model's architecture.",
    ),
    "bad revision": (
        "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. (Request ID: Root=1-6)\n"
        "Revision Not Found for url: https://huggingface.co/api/models/org/model/revision/v9.",
        "The repository has no such revision.",
    ),
    "quantization mismatch": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, Quantization method specified in the model config (awq) does not match the "
        "quantization method specified in the `quantization` argument (gptq). [type=value_error]",
        "The checkpoint is quantized otherwise than --quantization says.",
    ),
    "missing tokenizer": (
        "ValueError: Couldn't instantiate the backend tokenizer from one of:",
        "The checkpoint has no tokenizer that can be loaded.",
    ),
    "heads that do not divide": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
        "  Value error, Total number of attention heads (4) must be divisible by tensor parallel size (3).",
        PARALLEL,
    ),
    "code of its own": (
        "ValueError: The repository someone/model contains custom code which must be executed to correctly "
        "load the model.\nPlease pass the argument `trust_remote_code=True` to allow custom code to be run.",
        "The model brings code of its own, which is not trusted by itself.",
    ),
    "tensor parallel beyond the machine, CPU": (
        "AssertionError: Not enough allowed NUMA nodes to bind threads of 2 CPUWorkers. Allowed NUMA nodes "
        "are [0]. Please try to bind threads manually.",
        PARALLEL,
    ),
    "tensor parallel that does not divide": (
        "ValueError: Total number of attention heads (14) must be divisible by tensor parallel size (4).\n"
        "AssertionError: 14 is not divisible by the tensor parallel size 4",
        PARALLEL,
    ),
    "missing LoRA": (
        "ValueError: Loading lora french failed: No adapter found for /adapters/french",
        "An adapter (LoRA) that was asked for is not there.",
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
}

LLAMA_SERVER = {
    "no such file": ("gguf_init_from_file: failed to open GGUF file '/models/tiny.gguf'", DAMAGED),
    "not GGUF": ("gguf_init_from_file_ptr: invalid magic characters: '{\"ar', expected 'GGUF'", DAMAGED),
    "a directory": ("gguf_init_from_file_ptr: failed to read magic", DAMAGED),
    "cut short": (
        "llama_model_load: error loading model: tensor 'output.weight' data is not within the file bounds, "
        "model is corrupted or incomplete",
        DAMAGED,
    ),
    "out of memory": (
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate CPU buffer of size 68719476736",
        NO_FIT,
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


@pytest.mark.parametrize("failure", LLAMA_SERVER)
def test_a_llama_server_that_fails_is_explained_by_its_cause(failure: str) -> None:
    decisive, cause = LLAMA_SERVER[failure]
    found = diagnose(server_log(decisive))
    assert found.cause == cause
    assert found.lines == (decisive,)


def test_llama_servers_port_that_is_taken_is_explained() -> None:
    decisive = "start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8000"
    found = diagnose(server_log(decisive, last="main: exiting due to HTTP server error"))
    assert (found.cause, found.lines) == (PORT, (decisive,))


@pytest.mark.parametrize(
    "line",
    [
        "vllm: error: unrecognized arguments: --max-model-length 4096",
        "vllm serve: error: argument --dtype: invalid choice: 'half16' (choose from 'auto', 'half')",
        "error: invalid argument: --n-gpu-layer",
    ],
)
def test_an_option_that_the_engine_does_not_take_is_shown(line: str) -> None:
    log = f"usage: vllm serve [model_tag] [options]\n{line}\n[llm-atc] the engine ended with code 2"
    found = diagnose(log)
    assert (found.cause, found.lines) == (OPTION, (line,))


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
