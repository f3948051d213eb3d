"""What a request means on the machine that it runs on: how many GPUs, where files lie, who may reach it."""

from __future__ import annotations

import shlex
from dataclasses import replace

from llm_atc.errors import UsageError
from llm_atc.plan import inference
from llm_atc.plan.engine import EngineName, Machine
from llm_atc.plan.inference import Inference
from llm_atc.plan.model import BUCKET_SCHEMES
from llm_atc.plan.request import DEFAULT_PORT, Request

LOOPBACK = "127.0.0.1"
# The variable that carries certificate and key, packed, to the relay of a cloud machine: a secret.
TLS_VARIABLE = "LLM_ATC_TLS"
# No ~ in it: an engine is told the path as it stands.
FILES = "/tmp/llm-atc"  # noqa: S108  (a folder for each deployment, on a machine that is its own)


def gpus_of(request: Request, machine: Machine | None) -> int:
    """The GPUs of a machine; UsageError where more are asked for than it has. Without any, 1 may be said."""
    counts = [a.count for a in request.accelerators]
    least = machine.gpus if machine else min(counts, default=0)
    asked = request.inference.gpus
    if asked is not None and asked > max(least, 1):
        where = "this machine has" if machine else f"{min(request.accelerators, key=lambda a: a.count)} is"
        raise UsageError(
            f"--gpus {asked} are more than there are: {where} {least}.", hint=f"--gpus {max(least, 1)}"
        )
    return machine.gpus if machine else max(counts, default=0)


def own_executable(request: Request, engine: EngineName) -> tuple[str, ...]:
    """The words of what runs here instead of the pinned engine. Raises UsageError for an unclosed quote."""
    text = dict(request.executables).get(engine, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"The executable {text!r} of {engine} has a quote that is never closed.") from error


def listen_words(request: Request, machine: Machine | None) -> tuple[str, ...]:
    """Where and how the relay of a cloud machine listens, when that was said."""
    if machine is not None:
        return ()
    words: tuple[str, ...] = ("--tls-env", TLS_VARIABLE) if request.tls else ()
    address = LOOPBACK if request.private else request.host
    if address is None:
        return words
    host = f"[{address}]" if ":" in address else address
    return (*words, "--listen", f"{host}:{request.port or DEFAULT_PORT}")


def there(asked: Inference, name: str) -> tuple[Inference, tuple[tuple[str, str], ...]]:
    """What was asked for with the paths that its files have on a cloud machine, and where they come from."""
    files: list[tuple[str, str]] = []

    def put(path: str, called: str) -> str:
        files.append((f"{FILES}/{name}/{called}", path))
        return files[-1][0]

    template = asked.chat_template
    if template is not None and not inference.is_template_text(template) and inference.is_path(template):
        template = put(template, "chat-template.jinja")
    lora = tuple(
        (adapter, put(path, f"lora-{number}{'.gguf' if path.endswith('.gguf') else ''}"))
        if inference.is_path(path) or path.startswith(BUCKET_SCHEMES)
        else (adapter, path)
        for number, (adapter, path) in enumerate(asked.lora)
    )
    return replace(asked, chat_template=template, lora=lora), tuple(files)
