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


class Kind(StrEnum):
    """What a setting holds. TEXTS is a list of texts; PAIRS are names with their values."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    SWITCH = "switch"
    TEXTS = "texts"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting: its `name` in the configuration (`section.key`), its flags, and what it is for.

    The first flag is the one that is shown; a switch's is written `--this/--no-this`. `default` is what is
    built in, for showing: None where llm-atc decides by the model and the machine. `secret` values are never
    shown. A key without flags is for files and variables only.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    kind: Kind = Kind.TEXT
    default: Value = None
    secret: bool = False
    variable: str = ""

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


def _integer(name: str, *flags: str, help: str, default: Value = None) -> Key:  # noqa: A002
    return Key(name=name, flags=flags, help=help, kind=Kind.INTEGER, default=default)


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
    _texts(
        "resources.accelerators",
        "--accelerator",
        "--accelerators",
        help="NAME:COUNT; several in order of preference.",
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
    _integer("server.port", "--port", help="The endpoint's port: 8000, or here the next free."),
    _text("serve.backend", "--backend", help="vllm or llama-cpp; by the model's format."),
)
BY_NAME = {key.name: key for key in KEYS}
