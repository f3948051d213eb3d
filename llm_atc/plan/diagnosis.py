"""From an engine's log to one sentence and one piece of advice.

The last line is often generic ("Engine core initialization failed. See root cause above"), so the whole
log is searched for the lines that decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why an engine ended: the cause in a sentence, the advice, and the lines that show it."""

    cause: str
    advice: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sign:
    pattern: re.Pattern[str]
    cause: str
    advice: str


def _sign(pattern: str, cause: str, advice: str) -> _Sign:
    return _Sign(re.compile(pattern), cause, advice)


_SIGNS = (
    _sign(
        r"Loading lora .* failed|No adapter found for",
        "An adapter (LoRA) that was asked for is not there.",
        "Correct its path or its repository: -- --lora-modules NAME=PATH",
    ),
    _sign(
        r"Cannot access gated repo for url|GatedRepoError",
        "The repository is gated, and the token may not read it.",
        "Ask for access on the model's page, then give the token: --secret HF_TOKEN",
    ),
    _sign(
        r"is not a local folder and is not a valid model identifier|RepositoryNotFoundError",
        "The hub has no such repository, or the token may not see it.",
        "Check the name; for a private repository give --secret HF_TOKEN",
    ),
    _sign(
        r"Revision Not Found for url|RevisionNotFoundError|is not a valid git identifier",
        "The repository has no such revision.",
        "Correct what follows @: a branch, a tag or a commit",
    ),
    _sign(
        r"Quantization method specified in the model config .* does not match",
        "The checkpoint is quantized otherwise than --quantization says.",
        "Leave --quantization away: vLLM reads it from the checkpoint",
    ),
    _sign(
        r"Couldn't instantiate the backend tokenizer|Can't load tokenizer for|error loading model vocabulary",
        "The checkpoint has no tokenizer that can be loaded.",
        "Add tokenizer.json to it, or name another: -- --tokenizer OWNER/NAME",
    ),
    _sign(
        r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len",
        "The context asked for is longer than the model's own.",
        "Ask for less with --max-model-len",
    ),
    _sign(
        r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks"
        r"|kv cache allocation is less than requested|KV cache is needed, which is larger than"
        r"|failed to allocate .* buffer of size",
        "The model and its KV cache do not fit into the memory.",
        "Take a larger accelerator or more of them, or a shorter context: -- --max-model-len 4096",
    ),
    _sign(
        r"less than desired (GPU|CPU) memory utilization",
        "Something else holds the memory that the engine wants.",
        "Stop it, or ask for less: -- --gpu-memory-utilization 0.6",
    ),
    _sign(
        r"[Aa]ddress already in use|couldn't bind HTTP server socket",
        "The port is taken by another program.",
        "Give another one with --port",
    ),
    _sign(
        r"no kernel image is available|[Uu]nsupported .*compute capability|requires? .*compute capability"
        r"|sm_\d+ is not compatible",
        "The accelerator is too old for this engine.",
        "Take a newer accelerator, for example --accelerator L4:1",
    ),
    _sign(
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "The machine's NVIDIA driver is older than the engine needs.",
        "Take another image with --image, or another accelerator",
    ),
    _sign(
        r"Bfloat16 is only supported on GPUs with compute capability",
        "The accelerator has no bfloat16.",
        "Add: -- --dtype half",
    ),
    _sign(
        r"Transformers does not recognize this architecture|Model architectures .* are not supported",
        "The pinned vLLM does not know this model's architecture.",
        "Look for a newer revision of the model, or serve it in another format",
    ),
    _sign(
        r"No space left on device|[Dd]isk quota exceeded",
        "The disk is full.",
        "Take a larger one: llm-atc down NAME, then serve again with --disk-size 512",
    ),
    _sign(
        r"SafetensorError|invalid magic characters|data is not within the file bounds|failed to read magic"
        r"|failed to open GGUF file",
        "A weight file is damaged or cut short.",
        "Copy it again: llm-atc checkpoints push verifies what it wrote",
    ),
    _sign(
        r"Cannot find any model weights with|no file named .*(safetensors|bin)",
        "There are no weights beside the configuration.",
        "Check what lies there: llm-atc checkpoints ls SOURCE",
    ),
    _sign(
        r"is not a valid JSON file|Invalid repository ID or local directory|Repo id must be in the form",
        "The directory holds no model that vLLM can read.",
        "It needs config.json and safetensors weights; a GGUF file wants --backend llama-cpp",
    ),
    _sign(
        r"Not enough allowed NUMA nodes|World size .* is larger than the number of available GPUs"
        r"|not divisible by .*tensor parallel|must be divisible by tensor.parallel.size",
        "The tensor parallel size does not suit this machine or this model.",
        "Choose another number of accelerators, or -- --tensor-parallel-size N",
    ),
    _sign(
        r"error: unrecognized arguments|error: argument -|error: invalid argument",
        "The engine does not take one of its options.",
        "Correct what follows -- on the command line",
    ),
    _sign(
        r"(argument|option|setting) .?trust_remote_code=True",
        "The model brings code of its own, which is not trusted by itself.",
        "If you trust its author, add: -- --trust-remote-code",
    ),
    _sign(
        r"exit code: -9|Out of memory: Killed process|died unexpectedly|because memory ran out",
        "The system killed a process of the engine, as it does when memory runs out.",
        "Take a machine with more memory, or a smaller model",
    ),
    _sign(
        r"No module named|ImportError|cannot open shared object file",
        "The engine's installation is broken.",
        "Install it again: llm-atc engines remove vllm, then serve once more",
    ),
    _sign(
        r"couldn't connect to 'https?://|LocalEntryNotFoundError|MaxRetryError|Name or service not known",
        "The model hub could not be reached from the machine.",
        "Check the machine's network, or serve from a bucket with --source",
    ),
)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PREFIX = re.compile(r"^(\([^)]*\)\s*)+|^\[[^\]\s]*rank\d[^\]]*\]:?\s*")
_MEANINGFUL = re.compile(
    r"error|exception|failed|killed|cannot|could not|refused|denied|invalid", re.IGNORECASE
)
_NOISE = re.compile(r"Traceback|^\s*File \"|^\s*\^+\s*$|^\s*~*\^+~*\s*$|See root cause|warn", re.IGNORECASE)


def diagnose(log: str) -> Diagnosis:
    """What a dead engine's log says: the first sign that decides, or its last lines that complain."""
    lines = [clean(line) for line in log.splitlines()]
    for sign in _SIGNS:
        hits = [line for line in lines if sign.pattern.search(line)]
        if hits:
            return Diagnosis(cause=sign.cause, advice=sign.advice, lines=tuple(dict.fromkeys(hits))[:3])
    telling = [line for line in lines if _MEANINGFUL.search(line) and not _NOISE.search(line)]
    return Diagnosis(
        cause="The engine ended before it answered.",
        advice="Read its whole log with llm-atc logs",
        lines=tuple(dict.fromkeys(telling))[-8:] or tuple(line for line in lines if line.strip())[-8:],
    )


def clean(line: str) -> str:
    """A log line without colours and without the prefixes that say which process wrote it."""
    return _PREFIX.sub("", _ANSI.sub("", line)).rstrip()[:300]
