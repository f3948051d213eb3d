"""A plan as a command of this machine. Pure: paths and ports come in, words go out."""

from __future__ import annotations

import shlex
from typing import assert_never

from llm_atc.plan.engine import EngineName
from llm_atc.plan.model import Where
from llm_atc.plan.plan import Plan

LOOPBACK = "127.0.0.1"
PROGRAMS = {EngineName.VLLM: "vllm", EngineName.LLAMA_CPP: "llama-server"}


def command(plan: Plan, executable: str, model: str, host: str, port: int) -> tuple[str, ...]:
    """The engine's command line: no secret is in it.

    `model` is what the engine is to load: a repository's id, a directory, or a GGUF file.
    """
    listen = ("--host", host, "--port", str(port))
    match plan.engine:
        case EngineName.VLLM:
            return (executable, "serve", model, *listen, *plan.arguments)
        case EngineName.LLAMA_CPP:
            return (executable, *_gguf(plan, model), *listen, *plan.arguments)
        case _:
            assert_never(plan.engine)


def _gguf(plan: Plan, model: str) -> tuple[str, ...]:
    """A file is loaded; of a directory, the plan's file in it."""
    file = plan.model.file
    if file and not model.endswith(".gguf"):
        return ("-m", f"{model.rstrip('/')}/{file}")
    return ("-m", model)


def environment(plan: Plan) -> dict[str, str]:
    """The variables that the plan sets for the engine; secrets are not among them."""
    return dict(plan.envs)


def text(plan: Plan) -> str:
    """The command as a shell would read it. What is only known at the start, and secrets, stand by name."""
    where = plan.model.ref.where
    model = plan.model.ref.location if where in (Where.HUB, Where.DISK) else plan.checkpoint
    words = command(plan, PROGRAMS[plan.engine], model, LOOPBACK, plan.port)
    lines = [f"# needs {plan.pin.requirements[0]}", *(f"# secret: {name}" for name in plan.secret_names)]
    envs = [f"{name}={shlex.quote(value)} \\" for name, value in environment(plan).items()]
    return "\n".join([*lines, *envs, shlex.join(words)]) + "\n"
