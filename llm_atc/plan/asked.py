"""Settled settings → Request: the one place where a setting's text becomes what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_atc.access import Secret, read_key
from llm_atc.errors import ModelNotSaid, SecretMissing, UsageError
from llm_atc.plan.asked_values import READERS
from llm_atc.plan.asked_words import Said, read_backend
from llm_atc.plan.engine import EngineName
from llm_atc.plan.generation import FIELDS, Defaults
from llm_atc.plan.inference import Inference
from llm_atc.plan.layers import BUILT_IN, FLAG, Settled
from llm_atc.plan.places import read_place
from llm_atc.plan.request import Request, part_secrets, read_pairs

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_EXECUTABLES = (
    (EngineName.VLLM, "backends.vllm_executable"),
    (EngineName.LLAMA_CPP, "backends.llama_executable"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what a user may wonder about in how it was read, a sentence each."""

    request: Request
    notes: tuple[str, ...] = ()


def read_request(settled: Settled, environ: Mapping[str, str], *, engine_args: tuple[str, ...] = ()) -> Asked:
    """The request that these settings are. `engine_args` are the words after `--`.

    Raises UsageError for what cannot be read, naming it, and for settings that contradict each other.
    """
    said: Said = {name: one.value for name, one in settled.items()}
    if not said["server.auth"] and said["server.api_key"]:
        raise UsageError("--no-auth and --api-key contradict each other.", hint="leave one away")
    plain, moved = part_secrets(read_pairs(said["envs"] or (), environ, flag="--envs"))
    given = {
        name: Secret(value)
        for name, value in read_pairs(said["secrets"] or (), environ, flag="--secret").items()
    }

    def read(key: str) -> Any:
        return READERS[key](said[key])

    host, port = _read_address(said)
    request = Request(
        model=_read_model(settled),
        source=said["model.source"],
        revision=said["model.revision"],
        name=read("deployment.name"),
        place=read_place(said["cloud.name"], said["cloud.region"], said["cloud.zone"]),
        accelerators=read("resources.accelerators"),
        max_price=said["resources.max_price"],
        concurrency=said["resources.concurrency"],
        engine=engine_of(said),
        backend=read_backend(settled, engine_args),
        inference=read_inference(settled),
        generation=_read_generation(said),
        executables=tuple((engine, said[key]) for engine, key in _EXECUTABLES if said[key]),
        served_model_name=said["server.served_model_name"],
        envs=tuple(plain.items()),
        secrets=tuple((moved | given).items()),
        keys=read_keys(said["server.api_key"] or (), environ),
        auth=said["server.auth"],
        tls=bool(said["server.tls"] or said["server.tls_cert"]),
        tls_files=_read_tls_files(said),
        private=said["server.private"],
        spot=said["resources.spot"],
        disk_size=said["resources.disk_size"],
        image=said["resources.image"],
        num_nodes=said["resources.num_nodes"],
        host=host,
        port=port,
        idle_minutes=read("cloud.idle_minutes"),
        copy_minutes=read("cloud.copy_minutes"),
        idle_action=read("cloud.idle_action"),
        weights=read("cloud.weights"),
        cache=read("cloud.cache"),
        ttl=read("cloud.ttl"),
        budget=read("cloud.budget"),
        setup=said["deployment.setup"],
        log_file=said["serve.log_file"],
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
    """API keys as given; a variable's name in capitals stands for its value.

    Raises SecretMissing where no variable has that name: never may the name become the key.
    """
    values = [_value_of(text, environ) if _VARIABLE.fullmatch(text) else text for text in texts]
    return tuple(dict.fromkeys(read_key(part) for value in values for part in value.split(",")))


def _value_of(variable: str, environ: Mapping[str, str]) -> str:
    if not environ.get(variable):
        raise SecretMissing(
            f"--api-key names {variable}, and your environment has no {variable}.",
            hint=f"export {variable}=…",
        )
    return environ[variable]


def _read_model(settled: Settled) -> str:
    """The model's name, or its other name `serve.model_path`, which stands back where one layer says both."""
    name, path = settled["model.name"], settled["serve.model_path"]
    if name.source == path.source == FLAG and name.value and path.value and name.value != path.value:
        raise UsageError("--name and --model-path name two models.", hint="leave one away")
    found = name.value or path.value
    if not found:
        raise ModelNotSaid(
            "Say which model.", hint="llm-atc serve --name Qwen/Qwen3-0.6B …   (or model.name in a --config)"
        )
    return str(found)


def engine_of(said: Said) -> EngineName | None:
    """The engine that was asked for; None leaves it to the model's format. Raises UsageError."""
    engine = read_engine(said["serve.backend"])
    if not said["serve.vllm_args"]:
        return engine
    if engine not in (None, EngineName.VLLM):
        raise UsageError(f"--vllm-args and --backend {engine} contradict each other.", hint="leave one away")
    return EngineName.VLLM


def _read_address(said: Said) -> tuple[str | None, int | None]:
    """Host and port; what they do not say themselves comes from `serve.host_port`."""
    host, port = READERS["serve.host_port"](said["serve.host_port"])
    return said["server.host"] or host, port if said["server.port"] is None else said["server.port"]


def _read_tls_files(said: Said) -> tuple[str, str] | None:
    """The paths of certificate and key, which come together or not at all."""
    chain, key = said["server.tls_cert"], said["server.tls_key"]
    if bool(chain) is not bool(key):
        raise UsageError("--tls-cert and --tls-key belong together.", hint="--tls-cert FILE --tls-key FILE")
    return (chain, key) if chain else None


def read_inference(settled: Settled) -> Inference:
    """The options that engines share. Raises UsageError for what cannot be read."""

    def of(key: str) -> Any:
        name = f"inference.{key}"
        return READERS.get(name, lambda value: value)(settled[name].value)

    built_in = settled["inference.gpu_memory"].source == BUILT_IN
    return Inference(
        gpus=of("gpus"),
        gpu_memory=None if built_in else of("gpu_memory"),
        max_model_len=of("max_model_len"),
        dtype=of("dtype"),
        quantization=of("quantization"),
        trust_remote_code=bool(settled["model.trust_remote_code"].value),
        chat_template=of("chat_template"),
        lora=of("lora"),
    )


def _read_generation(said: Said) -> Defaults:
    return tuple((name, value) for name in FIELDS if (value := said[f"generation.{name}"]) is not None)
