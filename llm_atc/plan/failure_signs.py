"""The lines by which failures of engines are known, the surest first, each with a sentence and an advice.

`docs/troubleshooting.md` has them as a table, in this order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """A line that decides, and what is said then."""

    pattern: re.Pattern[str]
    cause: str
    advice: str


def _sign(pattern: str, cause: str, advice: str) -> Sign:
    return Sign(re.compile(pattern), cause, advice)


KILLED = (
    "The system killed a process of the engine, as it does when memory runs out.",
    "Take a machine with more memory, or a smaller model",
)
SIGNS = (
    _sign(
        r"Loading lora .* failed|No adapter found for|failed to load lora adapter",
        "An adapter (LoRA) that was asked for is not there.",
        "Correct its path or its repository: --lora NAME=PATH",
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
        r"Client error '401 Unauthorized' for url|Invalid credentials in Authorization header",
        "The hub does not accept the token.",
        "Make another in the hub's settings, then give it: --secret HF_TOKEN",
    ),
    _sign(
        r"Quantization method specified in the model config .* does not match"
        r"|Cannot find the config file for",
        "The checkpoint is not quantized as --quantization says.",
        "Leave --quantization away: vLLM reads it from the checkpoint",
    ),
    _sign(
        r"Unknown quantization method: ",
        "The pinned vLLM does not know how the checkpoint is quantized.",
        "Take another quantization of the model, or a GGUF of it with --backend llama-cpp",
    ),
    _sign(
        r"Failed to find a kernel that can implement|quantization is currently not supported"
        r"|quantization method .* is not supported for the current GPU",
        "This machine cannot compute with the checkpoint's quantization.",
        "Take a newer accelerator, or another quantization of the model",
    ),
    _sign(
        r"Couldn't instantiate the backend tokenizer|Can't load tokenizer for|^KeyError: 'added_tokens'"
        r"|did not match any variant of untagged enum",
        "The checkpoint has no tokenizer that can be loaded.",
        "Add tokenizer.json to it, or name another: -- --tokenizer OWNER/NAME",
    ),
    _sign(
        r"error loading model vocabulary",
        "The GGUF file has no tokenizer that can be loaded.",
        "Convert the model anew: the converter writes the tokenizer into the file",
    ),
    _sign(
        r"appears path-like, but doesn't exist|supplied chat template is not supported"
        r"|handling argument \"--chat-template|failed to initialize chat template",
        "The chat template that was asked for is not there, or is no template.",
        "Correct it: --chat-template FILE",
    ),
    _sign(
        r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len",
        "The context asked for is longer than the model's own.",
        "Ask for less with --max-model-len",
    ),
    _sign(
        r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks"
        r"|kv cache allocation is less than requested|KV cache is needed, which is larger than"
        r"|failed to allocate .* buffer of size|can't allocate memory|std::bad_alloc",
        "The model and its KV cache do not fit into the memory.",
        "Take a larger accelerator or more of them, or a shorter context: --max-model-len 4096",
    ),
    _sign(
        r"less than desired (GPU|CPU) memory utilization",
        "Something else holds the memory that the engine wants.",
        "Stop it, or ask for less: --gpu-memory 0.6",
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
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver",
        "The engine finds no GPU on the machine.",
        "Look there with nvidia-smi; take another image with --image, or another accelerator",
    ),
    _sign(
        r"is not supported for quantization method .* Supported dtypes",
        "The checkpoint's quantization does not go with this type of numbers.",
        "Add: --dtype half",
    ),
    _sign(
        r"Bfloat16 is only supported on GPUs with compute capability",
        "The accelerator has no bfloat16.",
        "Add: --dtype half",
    ),
    _sign(
        r"[Dd]oes not recognize this architecture|Model architectures .* are not supported"
        r"|unknown model architecture: |this GGUF file is version \d+ but this software only supports",
        "The pinned engine does not know this model's architecture or format.",
        "Look for a newer revision of the model, or serve it in another format",
    ),
    _sign(
        r"No space left on device|[Dd]isk quota exceeded",
        "The disk is full.",
        "Take a larger one: llm-atc down NAME, then serve again with --disk-size 512",
    ),
    _sign(
        r"Weight files referenced in index but missing|failed to open GGUF file",
        "A file that belongs to the model is not there.",
        "Check what lies there: llm-atc checkpoints ls SOURCE; then copy it again",
    ),
    _sign(
        r"botocore\.exceptions\.(ClientError|NoCredentialsError|PartialCredentialsError)",
        "The machine may not read the bucket that the weights are streamed from.",
        "Look whether SkyPilot has your keys: sky check aws   (or copy them: --weights copy)",
    ),
    _sign(
        r"SafetensorError|invalid magic characters|data is not within the file bounds"
        r"|failed to read (magic|header|key-value pairs|tensor info)",
        "A weight file is damaged or cut short.",
        "Copy it again: llm-atc checkpoints push verifies what it wrote",
    ),
    _sign(
        r"The size of tensor a \(\d+\) must match|check_tensor_dims: ",
        "The weights are not those that the model's description speaks of.",
        "Take description and weights from one source and one revision",
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
        r"|not divisible by .*tensor.parallel|must be divisible by tensor.parallel.size"
        r"|^AssertionError: \d+ is not divisible by \d+",
        "The tensor parallel size does not suit this machine or this model.",
        "Choose another number of accelerators: --gpus N",
    ),
    _sign(
        r"error: unrecognized arguments|error: argument -|error: invalid argument"
        r"|error while handling argument",
        "The engine does not take one of its options.",
        "Correct what follows -- on the command line",
    ),
    _sign(
        r"(argument|option|setting) .?trust_remote_code=True",
        "The model brings code of its own, which is not trusted by itself.",
        "If you trust its author, add: --trust-remote-code",
    ),
    _sign(
        r"exit code: -4\b|Illegal instruction",
        "The engine came upon an instruction that this processor does not run, or may not run.",
        "Compute in float16, which uses no AMX: --dtype float16   (or take another machine)",
    ),
    _sign(
        r"exit code: -9|Out of memory: Killed process|died unexpectedly|because memory ran out",
        *KILLED,
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
