"""Whether what was asked for can stand together, before anybody looks at a model or a machine."""

from __future__ import annotations

import math

from llm_atc.errors import UsageError
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.placement import TLS_VARIABLE
from llm_atc.plan.request import Request, check_port

# What the task templates read; a user's variable of that name would change what runs.
RESERVED = frozenset(
    {
        "MODEL",
        "MODEL_FILE",
        "MODEL_REVISION",
        "PORT",
        "AUTH",
        "ENGINE_VERSION",
        "ENGINE_REQUIREMENTS",
        "BESIDE_REQUIREMENTS",
        "CACHE",
        "CACHE_REVISION",
        "ENGINE_ARGS",
        "ENGINE_ARGS_BY_ACCELERATOR",
        "RELAY_ARGS",
    }
    | {"IDLE_MINUTES", "TTL_SECONDS", "BUDGET_DOLLARS", "DOLLARS_AN_HOUR", "GUARD_MINUTES"}
    | {"TTL_SINCE", "BUDGET_SINCE", "ASKED_AT"}
    | {vllm.KEY_VARIABLE, llama_cpp.KEY_VARIABLE, TLS_VARIABLE}
)
# Options of engines that would undo what llm-atc promises: where it listens, who may ask, under which name.
OWN_OPTIONS = {
    "--host": "--host ADDRESS before the --",
    "--port": "--port PORT before the --",
    "--api-key": "--api-key KEY before the --",
    "--api-key-file": "--api-key KEY before the --",
    "--hf-token": "--secret HF_TOKEN before the --",
    "--model": "--name MODEL before the --",
    "-m": "--name FILE before the --",
    "--revision": "--revision REVISION before the --",
    "--hf-repo": "--name OWNER/NAME before the --",
    "-hf": "--name OWNER/NAME before the --",
    "-hfr": "--name OWNER/NAME before the --",
    "--hf-file": "--name OWNER/NAME:QUANTIZATION before the --",
    "-hff": "--name OWNER/NAME:QUANTIZATION before the --",
    "--model-url": "llm-atc download, and --name FILE before the --",
    "-mu": "llm-atc download, and --name FILE before the --",
    "--served-model-name": "--served-model-name NAME before the --",
    "--alias": "--served-model-name NAME before the --",
}


def check_flags(request: Request) -> None:
    """Whether the flags can stand together; UsageError names the two that cannot."""
    check_port(request.port)
    check_engine_args(request.engine_args)
    taken = RESERVED & {name for name, _ in (*request.envs, *request.secrets)}
    if taken:
        raise UsageError(
            f"{min(taken)} is a variable that llm-atc sets itself.",
            hint="its flags: --name, --port, --api-key",
        )
    name = request.served_model_name
    if name is not None and not (name.strip() and name.isprintable()):
        raise UsageError(
            f"--served-model-name {name!r} is empty, or has letters that cannot be shown.",
            hint="--served-model-name my-model",
        )
    check_num_nodes(request.num_nodes)
    check_disk_size(request.disk_size)
    check_price(request.max_price)
    check_concurrency(request.concurrency)
    if not request.place.local:
        _check_cloud(request)
        return
    for flag, given in (
        ("--accelerator", bool(request.accelerators)),
        ("--max-price", request.max_price is not None),
        ("--spot", request.spot),
        ("--disk-size", request.disk_size is not None),
        ("--image", request.image is not None),
        ("--num-nodes", request.num_nodes > 1),
        ("--idle-minutes", request.idle_minutes is not None),
        ("--idle-action", request.idle_action is not None),
        ("--ttl", request.ttl is not None),
        ("--budget", request.budget is not None),
        ("--copy-minutes", request.copy_minutes is not None),
        ("--weights", request.weights is not None),
        ("--cache", request.cache is not None),
        ("--tls", request.tls),
        ("--private", request.private),
    ):
        if given:
            raise UsageError(
                f"{flag} is for a cloud: --cloud local is this machine.", hint=f"leave {flag} away"
            )


def _check_cloud(request: Request) -> None:
    if request.log_file is not None:
        raise UsageError(
            "--log-file is for this machine: on a cloud the log stays with the job.", hint="llm-atc logs NAME"
        )
    if request.private and request.host is not None:
        raise UsageError(
            "--private and --host contradict each other: a private endpoint is on its machine's loopback.",
            hint="leave --host away",
        )
    if request.inference.gpus is not None and request.num_nodes > 1:
        raise UsageError(
            "--gpus and --num-nodes contradict each other: several machines use all of their GPUs.",
            hint="leave --gpus away",
        )


def check_num_nodes(number: int) -> None:
    """UsageError for a number of machines that cannot be had."""
    if number < 1:
        raise UsageError(f"--num-nodes {number} is not a number of machines.", hint="--num-nodes 1")


def check_disk_size(gib: int | None) -> None:
    """UsageError for a disk on which nothing could run."""
    if gib is not None and gib < 50:
        raise UsageError(
            f"--disk-size {gib} (GiB) does not hold the machine's own software and an engine.",
            hint="--disk-size 256",
        )


def check_concurrency(number: int) -> None:
    """UsageError for a number of requests that nobody sends."""
    if number < 1:
        raise UsageError(f"--concurrency {number} is not a number of requests.", hint="--concurrency 8")


def check_price(dollars: float | None) -> None:
    """UsageError for a limit of US dollars an hour that no price keeps."""
    if dollars is not None and not 0 < dollars < math.inf:
        raise UsageError(f"--max-price {dollars} is no price.", hint="--max-price 1.50")


def check_engine_args(words: tuple[str, ...]) -> None:
    """UsageError for an engine's option that llm-atc sets itself, also shortened or with underscores."""
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        for option, instead in OWN_OPTIONS.items():
            if name == option or (len(name) > 5 and option.startswith(name)):
                raise UsageError(
                    f"{word.partition('=')[0]} is not for the engine: llm-atc sets it.", hint=instead
                )
