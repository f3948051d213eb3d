"""Settled settings → Request: the one place where a setting's text becomes what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_atc.access import Secret, read_key
from llm_atc.errors import ModelNotSaid, UsageError
from llm_atc.plan.engine import EngineName
from llm_atc.plan.layers import Settled
from llm_atc.plan.places import read_place
from llm_atc.plan.request import Request, check_name, part_secrets, read_accelerators, read_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what a user may wonder about in how it was read, a sentence each."""

    request: Request
    notes: tuple[str, ...] = ()


def read_request(settled: Settled, environ: Mapping[str, str], *, engine_args: tuple[str, ...] = ()) -> Asked:
    """The request that these settings are. `engine_args` are the words after `--`.

    Raises UsageError for what cannot be read, naming it, and for settings that contradict each other.
    """
    said: dict[str, Any] = {name: one.value for name, one in settled.items()}
    if not said["model.name"]:
        raise ModelNotSaid(
            "Say which model.", hint="llm-atc serve --name Qwen/Qwen3-0.6B …   (or model.name in a --config)"
        )
    if not said["server.auth"] and said["server.api_key"]:
        raise UsageError("--no-auth and --api-key contradict each other.", hint="leave one away")
    plain, moved = part_secrets(read_pairs(said["envs"] or (), environ, flag="--envs"))
    given = {
        name: Secret(value)
        for name, value in read_pairs(said["secrets"] or (), environ, flag="--secret").items()
    }
    name = said["deployment.name"]
    request = Request(
        model=said["model.name"],
        source=said["model.source"],
        name=check_name(name) if name else None,
        place=read_place(said["cloud.name"], said["cloud.region"], said["cloud.zone"]),
        accelerators=read_accelerators(said["resources.accelerators"] or ()),
        max_price=said["resources.max_price"],
        concurrency=said["resources.concurrency"],
        engine=read_engine(said["serve.backend"]),
        engine_args=engine_args,
        envs=tuple(plain.items()),
        secrets=tuple((moved | given).items()),
        keys=read_keys(said["server.api_key"] or (), environ),
        auth=said["server.auth"],
        spot=said["resources.spot"],
        disk_size=said["resources.disk_size"],
        image=said["resources.image"],
        num_nodes=said["resources.num_nodes"],
        port=said["server.port"],
        setup=said["deployment.setup"],
    )
    notes = (
        (f"{', '.join(moved)}: treated as secret, and written down nowhere in the task.",) if moved else ()
    )
    return Asked(request=request, notes=notes)


def read_engine(text: str | None) -> EngineName | None:
    """The engine of that name; None leaves it to the model's format. Raises UsageError."""
    if text is None:
        return None
    if text not in list(EngineName):
        raise UsageError(
            f"--backend {text!r} is no engine.", hint="--backend vllm   or   --backend llama-cpp"
        )
    return EngineName(text)


def read_keys(texts: tuple[str, ...] | list[str], environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """API keys as given; the name of a variable in capitals that is set stands for its value."""
    values = [environ[text] if text.isupper() and text in environ else text for text in texts]
    return tuple(dict.fromkeys(read_key(part) for value in values for part in value.split(",")))
