"""Everything that `serve` can be told: one row for each setting, whoever says it.

A row is a flag of the command line, a key of the configuration and an environment variable at once, so that
the three never differ. What a value means is read in `asked.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Value = None | bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"]
# By key; what was not said is absent, and None says "none" on purpose.
Values = Mapping[str, Value]
NOTHING: Values = {}
# The share of a GPU's memory that vLLM takes wherever nobody says another. Its own default is 0.92 (0.9 in
# 0.19.1); the CUDA context, about half a GiB for each process, lies in the rest.
GPU_MEMORY = 0.9


class Kind(StrEnum):
    """What a setting holds.

    TEXTS is a list of texts; PAIRS are names with their values, `NAME=VALUE` each or a mapping in which None
    asks the environment. A SIZE is a whole number, or a text such as 32k; an ADDRESS HOST:PORT or PORT.
    WORDS are options of an engine: texts as a shell would split them, or a mapping of names, with dashes or
    underscores, to values.
    """

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    SWITCH = "switch"
    TEXTS = "texts"
    PAIRS = "pairs"
    SIZE = "size"
    ADDRESS = "address"
    WORDS = "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting: its `name` in the configuration (`section.key`), its flags, and what it is for.

    The first flag is the one that is shown; a switch's is written `--this/--no-this`. `default` is what is
    built in, for showing: None where llm-atc decides by the model and the machine. `low` and `high` bound a
    number, `choices` are the only texts there are, and `example` is a value that helps. `secret` values are
    never shown. A key without flags is for files and variables only.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    kind: Kind = Kind.TEXT
    default: Value = None
    secret: bool = False
    variable: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    example: str = ""

    @property
    def section(self) -> str:
        """The part of the configuration that it stands in."""
        return self.name.partition(".")[0]

    @property
    def flag(self) -> str:
        """The flag as messages name it; the key where it has none."""
        return self.flags[0].partition("/")[0] if self.flags else self.name

    @property
    def parameter(self) -> str:
        """Its name as a parameter of a command."""
        return self.name.replace(".", "_")

    @property
    def environment(self) -> str:
        """The environment variable that sets it: `LLM_ATC_GPU_MEMORY` for `inference.gpu_memory`."""
        return "LLM_ATC_" + (self.variable or self.name.rpartition(".")[2].upper())


def _text(name: str, *flags: str, help: str, default: Value = None, variable: str = "") -> Key:  # noqa: A002
    return Key(name=name, flags=flags, help=help, default=default, variable=variable)


def _texts(name: str, *flags: str, help: str, secret: bool = False) -> Key:  # noqa: A002
    return Key(name=name, flags=flags, help=help, kind=Kind.TEXTS, secret=secret)


def _size(name: str, *flags: str, help: str) -> Key:  # noqa: A002
    return Key(name=name, flags=flags, help=help, kind=Kind.SIZE)


def _integer(
    name: str,
    *flags: str,
    help: str,  # noqa: A002
    default: Value = None,
    low: float | None = None,
    high: float | None = None,
    example: str = "",
) -> Key:
    return Key(
        name=name,
        flags=flags,
        help=help,
        kind=Kind.INTEGER,
        default=default,
        low=low,
        high=high,
        example=example,
    )


def _number(
    name: str,
    *flags: str,
    help: str,  # noqa: A002
    default: Value = None,
    low: float | None = None,
    high: float | None = None,
) -> Key:
    return Key(name=name, flags=flags, help=help, kind=Kind.NUMBER, default=default, low=low, high=high)


def _switch(name: str, *flags: str, help: str, default: bool = False) -> Key:  # noqa: A002
    return Key(name=name, flags=flags, help=help, kind=Kind.SWITCH, default=default)


KEYS: tuple[Key, ...] = (
    _text(
        "model.name",
        "--name",
        "-n",
        "--model",
        help="OWNER/NAME on the hub, llm-atc/NAME with --source, or a path.",
        variable="MODEL",
    ),
    _switch(
        "model.trust_remote_code",
        "--trust-remote-code/--no-trust-remote-code",
        help="Run the Python code that the model's repository brings.",
    ),
    _text("model.revision", "--revision", help="A branch, tag or commit of the hub's repository."),
    _text("model.source", "--source", help="Where the checkpoint lies: s3://…, gs://… or a directory."),
    _text(
        "deployment.name",
        "--cluster",
        "-c",
        help="The deployment's name, which is its cluster's too.",
        variable="CLUSTER",
    ),
    _switch(
        "deployment.setup",
        "--setup/--no-setup",
        " /--no_setup",
        help="Skip the engine's set-up with --no-setup.",
        default=True,
    ),
    _text("cloud.name", "--cloud", help="A cloud that SkyPilot knows, or local.", variable="CLOUD"),
    _text("cloud.region", "--region", help="A region of that cloud."),
    _text("cloud.zone", "--zone", help="A zone of that region."),
    _integer(
        "cloud.idle_minutes",
        "--idle-minutes",
        help="Minutes without a request that end a cloud's machine: 30 when left out, 0 for never.",
    ),
    _text("cloud.idle_action", "--idle-action", help="What becomes of it then: stop, or down to remove it."),
    _text("cloud.ttl", "--ttl", help="How long a machine may run at most, from its start: 8h, 90m."),
    _integer(
        "cloud.copy_minutes",
        "--copy-minutes",
        help="Minutes for copying files to a machine or starting it, before it counts as left alone.",
    ),
    Key(
        name="cloud.weights",
        flags=("--weights",),
        help="How a bucket's weights reach a machine: copy, stream, or auto, by size and source.",
        default="auto",
        choices=("auto", "copy", "stream"),
    ),
    _text(
        "cloud.cache",
        "--cache",
        help="s3://BUCKET/PREFIX, where weights and compiled code are kept for the next machine.",
    ),
    _text("cloud.budget", "--budget", help="US dollars that it may cost at most, over all its starts: 20."),
    _texts(
        "resources.accelerators",
        "--accelerator",
        "--accelerators",
        help="NAME:COUNT; several in order of preference; auto, or none, for the cheapest that fits.",
    ),
    _number(
        "resources.max_price",
        "--max-price",
        help="The most that a machine may cost, in dollars an hour.",
    ),
    _integer(
        "resources.concurrency",
        "--concurrency",
        help="With auto: so many requests at once are to fit.",
        default=1,
    ),
    _switch("resources.spot", "--spot/--no-spot", help="A spot machine: cheaper, and it may be taken away."),
    _integer("resources.disk_size", "--disk-size", help="The machine's disk, in GiB."),
    _text("resources.image", "--image", help="An image, such as docker:vllm/vllm-openai:v0.32.0."),
    _integer("resources.num_nodes", "--num-nodes", help="Machines for one model, through Ray.", default=1),
    Key(
        name="envs",
        flags=("--envs", "--env", "-e"),
        help="KEY=VAL, or KEY to take it from your environment; repeatable.",
        kind=Kind.PAIRS,
    ),
    Key(
        name="secrets",
        flags=("--secret",),
        help="The same for a secret: it is never written down in the task.",
        kind=Kind.PAIRS,
        secret=True,
    ),
    _texts(
        "server.api_key",
        "--api-key",
        help="A key for the endpoint, or the NAME of a variable that holds it; repeatable.",
        secret=True,
    ),
    _switch(
        "server.auth", "--auth/--no-auth", help="--no-auth asks nobody for a key. Asks first.", default=True
    ),
    _text(
        "server.host",
        "--host",
        help="The address that the endpoint listens on: 0.0.0.0 on a machine of a cloud, 127.0.0.1 here.",
    ),
    _switch(
        "server.tls", "--tls/--no-tls", help="HTTPS, with a certificate made for it unless you give one."
    ),
    _text("server.tls_cert", "--tls-cert", help="Your own certificate with its chain, a PEM file."),
    _text("server.tls_key", "--tls-key", help="Its private key, a PEM file without a password."),
    _switch(
        "server.private",
        "--private/--no-private",
        help="No open port: the endpoint is reached through `llm-atc connect`.",
    ),
    _integer(
        "server.port",
        "--port",
        help="The endpoint's port: 8000, or here the next free.",
        low=1024,
        high=65535,
        example="8000",
    ),
    _text(
        "server.served_model_name",
        "--served-model-name",
        help="What requests call the model; the model's own name when left out.",
    ),
    Key(
        name="serve.backend",
        flags=("--backend",),
        help="vllm or llama-cpp; by the model's format.",
        choices=("vllm", "llama-cpp"),
    ),
    Key(
        name="serve.backend_args",
        flags=("--backend-args",),
        help="The engine's own options, as a shell would split them; repeatable. Needs --backend.",
        kind=Kind.WORDS,
    ),
    Key(
        name="serve.vllm_args",
        flags=("--vllm-args",),
        help="The same for vLLM: --backend vllm --backend-args.",
        kind=Kind.WORDS,
    ),
    _text("serve.model_path", "--model-path", help="The model when no other is named."),
    Key(
        name="serve.host_port",
        flags=(),
        help="HOST:PORT, or PORT: server.host and server.port in one.",
        kind=Kind.ADDRESS,
        example="8000",
    ),
    _integer("serve.gpu_layers", "--num-gpu-layers", "--gpu-layers", help="Older form of -- --n-gpu-layers."),
    _size("serve.max_ctx_size", "--max-ctx-size", help="Older form of --max-model-len."),
    _integer("serve.num_threads", "--num-threads", help="Older form of -- --threads."),
    _text("serve.log_file", "--log-file", help="Here: a file that the engine's log is written to as well."),
    _integer(
        "inference.gpus", "--gpus", help="GPUs that hold the model together; all of the machine's.", low=1
    ),
    _number(
        "inference.gpu_memory",
        "--gpu-memory",
        help="The share of a GPU's memory that vLLM takes: 0.1 to 1.",
        default=GPU_MEMORY,
        low=0.1,
        high=1,
    ),
    _size("inference.max_model_len", "--max-model-len", help="Tokens of context: 4096, or 32k."),
    _text("inference.dtype", "--dtype", help="The numbers to compute with: auto, bfloat16, float16, …"),
    _text("inference.quantization", "--quantization", help="How the weights are quantized: awq, fp8, …"),
    _text("inference.chat_template", "--chat-template", help="A file with the template, or its text."),
    Key(
        name="inference.lora",
        flags=("--lora",),
        help="NAME=PATH of an adapter, which requests call NAME; repeatable.",
        kind=Kind.PAIRS,
    ),
    _number(
        "generation.temperature", "--temperature", help="For requests that say none: 0 to 2.", low=0, high=2
    ),
    _integer(
        "generation.max_tokens", "--max-tokens", help="Tokens of an answer, unless asked otherwise.", low=1
    ),
    _number("generation.top_p", "--top-p", help="For requests that say none: 0 to 1.", low=0, high=1),
    _integer("generation.top_k", "--top-k", help="For requests that say none; -1 is all.", low=-1),
    _number(
        "generation.presence_penalty",
        "--presence-penalty",
        help="For requests that say none: -2 to 2.",
        low=-2,
        high=2,
    ),
    _number(
        "generation.frequency_penalty",
        "--frequency-penalty",
        help="The same for often used words.",
        low=-2,
        high=2,
    ),
    _text("backends.vllm_executable", help="What to run here instead of the pinned vLLM."),
    _text(
        "backends.llama_executable",
        help="What to run here instead of the pinned llama-server.",
        variable="LLAMA_CPP_EXECUTABLE",
    ),
)
BY_NAME = {key.name: key for key in KEYS}
