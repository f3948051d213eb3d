"""What the pinned engines really print when they cannot start, and what is made of it.

The logs are the engines' own: `python -m tests.engine_failures` makes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.diagnosis import diagnose

LOGS = Path(__file__).parent / "engine_logs"
FOLDERS = {
    "vllm": f"vllm-{vllm.CPU_PIN.version}",
    "llama-cpp": f"llama-cpp-{llama_cpp.PIN.version}",
}
# Cause and advice, and the failures that they are for.
MEANT = {
    (
        "An adapter (LoRA) that was asked for is not there.",
        "Correct its path or its repository: --lora NAME=PATH",
    ): ("vllm/no_such_adapter", "llama-cpp/no_such_adapter"),
    (
        "The repository is gated, and the token may not read it.",
        "Ask for access on the model's page, then give the token: --secret HF_TOKEN",
    ): ("vllm/gated", "vllm/gated_for_this_token"),
    (
        "The hub has no such repository, or the token may not see it.",
        "Check the name; for a private repository give --secret HF_TOKEN",
    ): ("vllm/absent", "vllm/absent_for_this_token"),
    (
        "The repository has no such revision.",
        "Correct what follows @: a branch, a tag or a commit",
    ): ("vllm/no_such_revision",),
    (
        "The hub does not accept the token.",
        "Make another in the hub's settings, then give it: --secret HF_TOKEN",
    ): ("vllm/token_refused",),
    (
        "The checkpoint is not quantized as --quantization says.",
        "Leave --quantization away: vLLM reads it from the checkpoint",
    ): ("vllm/not_quantized", "vllm/other_quantization"),
    (
        "The pinned vLLM does not know how the checkpoint is quantized.",
        "Take another quantization of the model, or a GGUF of it with --backend llama-cpp",
    ): ("vllm/unknown_quantization",),
    (
        "This machine cannot compute with the checkpoint's quantization.",
        "Take a newer accelerator, or another quantization of the model",
    ): ("vllm/quantization_for_others",),
    (
        "The checkpoint has no tokenizer that can be loaded.",
        "Add tokenizer.json to it, or name another: -- --tokenizer OWNER/NAME",
    ): ("vllm/no_tokenizer", "vllm/tokenizer_damaged"),
    (
        "The GGUF file has no tokenizer that can be loaded.",
        "Convert the model anew: the converter writes the tokenizer into the file",
    ): ("llama-cpp/no_tokenizer",),
    (
        "The chat template that was asked for is not there, or is no template.",
        "Correct it: --chat-template FILE",
    ): ("vllm/no_such_chat_template", "llama-cpp/chat_template_damaged", "llama-cpp/no_such_chat_template"),
    (
        "The context asked for is longer than the model's own.",
        "Ask for less with --max-model-len",
    ): ("vllm/context_too_long",),
    (
        "The model and its KV cache do not fit into the memory.",
        "Take a larger accelerator or more of them, or a shorter context: --max-model-len 4096",
    ): (
        "vllm/cache_larger_than_memory",
        "vllm/cache_without_a_block",
        "vllm/out_of_memory",
        "llama-cpp/cache_larger_than_memory",
        "llama-cpp/out_of_memory",
    ),
    (
        "Something else holds the memory that the engine wants.",
        "Stop it, or ask for less: --gpu-memory 0.6",
    ): ("vllm/memory_held",),
    (
        "The port is taken by another program.",
        "Give another one with --port",
    ): ("vllm/port_taken", "llama-cpp/port_taken"),
    (
        "The pinned engine does not know this model's architecture or format.",
        "Look for a newer revision of the model, or serve it in another format",
    ): (
        "vllm/unknown_architecture",
        "vllm/unknown_model_type",
        "llama-cpp/gguf_of_another_version",
        "llama-cpp/unknown_architecture",
    ),
    (
        "A file that belongs to the model is not there.",
        "Check what lies there: llm-atc checkpoints ls SOURCE; then copy it again",
    ): (
        "vllm/a_shard_missing",
        "llama-cpp/a_shard_missing",
        "llama-cpp/no_such_file",
        "llama-cpp/no_such_projector",
    ),
    (
        "A weight file is damaged or cut short.",
        "Copy it again: llm-atc checkpoints push verifies what it wrote",
    ): (
        "vllm/weights_cut_short",
        "llama-cpp/a_directory",
        "llama-cpp/empty",
        "llama-cpp/keys_cut_short",
        "llama-cpp/not_gguf",
        "llama-cpp/tensors_cut_short",
    ),
    (
        "The weights are not those that the model's description speaks of.",
        "Take description and weights from one source and one revision",
    ): ("vllm/other_shapes", "llama-cpp/a_tensor_missing"),
    (
        "There are no weights beside the configuration.",
        "Check what lies there: llm-atc checkpoints ls SOURCE",
    ): ("vllm/no_weights",),
    (
        "The directory holds no model that vLLM can read.",
        "It needs config.json and safetensors weights; a GGUF file wants --backend llama-cpp",
    ): (
        "vllm/a_directory_of_gguf",
        "vllm/a_gguf_file",
        "vllm/config_not_json",
        "vllm/no_config",
        "vllm/no_such_directory",
    ),
    (
        "The tensor parallel size does not suit this machine or this model.",
        "Choose another number of accelerators: --gpus N",
    ): ("vllm/parallel_beyond_the_machine", "vllm/parallel_that_does_not_divide"),
    (
        "The engine does not take one of its options.",
        "Correct what follows -- on the command line",
    ): (
        "vllm/option_of_another_choice",
        "vllm/option_of_another_type",
        "vllm/unknown_option",
        "llama-cpp/option_of_another_choice",
        "llama-cpp/option_of_another_type",
        "llama-cpp/unknown_option",
    ),
    (
        "The model brings code of its own, which is not trusted by itself.",
        "If you trust its author, add: --trust-remote-code",
    ): ("vllm/code_of_its_own",),
    (
        "The engine came upon an instruction that this processor does not run, or may not run.",
        "Compute in float16, which uses no AMX: --dtype float16   (or take another machine)",
    ): ("vllm/illegal_instruction",),
    (
        "The system killed a process of the engine, as it does when memory runs out.",
        "Take a machine with more memory, or a smaller model",
    ): ("vllm/killed_when_ready", "vllm/killed_when_starting"),
    (
        "The model hub could not be reached from the machine.",
        "Check the machine's network, or serve from a bucket with --source",
    ): ("vllm/no_network", "vllm/offline_and_not_cached"),
}


def log(failure: str) -> str:
    engine, _, name = failure.partition("/")
    return (LOGS / FOLDERS[engine] / f"{name}.txt").read_text()


def test_there_is_a_log_of_the_pinned_engines_for_each_failure_and_no_other() -> None:
    kept = {f"{path.parent.name}/{path.stem}" for path in LOGS.glob("*/*")}
    meant = [failure.partition("/") for failures in MEANT.values() for failure in failures]
    assert kept == {f"{FOLDERS[engine]}/{name}" for engine, _, name in meant}


@pytest.mark.parametrize(
    ("failure", "cause", "advice"),
    [(failure, *words) for words, failures in MEANT.items() for failure in failures],
)
def test_a_real_failure_is_explained_by_its_cause(failure: str, cause: str, advice: str) -> None:
    text = log(failure)
    found = diagnose(text)
    assert (found.cause, found.advice) == (cause, advice)
    assert found.lines
    assert all(line in text for line in found.lines), "what is shown was really said"
    assert not any(line.startswith("    ") for line in found.lines), "it is no line of a program"


def test_a_cause_that_is_not_known_is_shown_by_the_lines_that_tell_most() -> None:
    """Two thirds of such a log are frames and what follows from the first error."""
    text = log("vllm/other_shapes").replace("The size of tensor a (256) must match", "Nobody knows that")
    found = diagnose(text)
    assert found.cause == "The engine ended before it answered."
    assert found.lines == (
        "RuntimeError: Nobody knows that the size of tensor b (128) at non-singleton dimension 1",
    )
