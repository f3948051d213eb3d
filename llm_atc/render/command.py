"""A plan as a command of this machine. Pure: paths and ports come in, words go out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import Any, assert_never

from llm_atc.plan.engine import EngineName
from llm_atc.plan.model import Where
from llm_atc.plan.plan import Plan
from llm_atc.render.container import container, is_container, mounts

LOOPBACK = "127.0.0.1"
# The relay's variables: the endpoint's keys, and the one that the engine behind it asks for.
KEYS, ENGINE_KEY = "LLM_ATC_RELAY_KEYS", "LLM_ATC_RELAY_ENGINE_KEY"
# Another program than `vllm serve`, which takes its model with a flag.
API_MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
PROGRAMS = {EngineName.VLLM: "vllm", EngineName.LLAMA_CPP: "llama-server"}


def command(
    plan: Plan, executable: tuple[str, ...], model: str, host: str, port: int, variables: Iterable[str] = ()
) -> tuple[str, ...]:
    """The engine's command line: no secret is in it.

    `executable` are the words that start the engine: a program, `python -m vllm`, `docker run … IMAGE`.
    `model` is what the engine is to load: a repository's id, a directory, or a GGUF file. `variables` are the
    names that a container takes over from the environment.
    """
    listen = ("--host", host, "--port", str(port))
    in_container = is_container(executable)
    if in_container:
        executable = container(executable, mounts(plan, model), variables)
    match plan.engine:
        case EngineName.VLLM:
            named = (*([] if in_container else _entry(executable)), model)
            if executable[-1] in API_MODULES:
                named = ("--model", model)
            return (*executable, *named, *listen, *plan.arguments)
        case EngineName.LLAMA_CPP:
            return (*executable, *_gguf(plan, model), *listen, *plan.arguments)
        case _:
            assert_never(plan.engine)


def relay_command(plan: Plan, port: int, behind: int, *, open_to_all: bool) -> tuple[str, ...]:
    """The relay's command line, which owns the endpoint's `port` in front of an engine at `behind`."""
    host = plan.host or LOOPBACK
    return (
        *(sys.executable, "-I", "-m", "llm_atc.relay"),
        *("--upstream", f"http://{LOOPBACK}:{behind}", "--upstream-key-env", ENGINE_KEY),
        *("--listen", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        *(("--no-auth",) if open_to_all else ("--key-env", KEYS)),
        *plan.relay_arguments,
    )


def _entry(executable: tuple[str, ...]) -> tuple[str, ...]:
    return () if executable[-1] == "serve" else ("serve",)


def _gguf(plan: Plan, model: str) -> tuple[str, ...]:
    """A file is loaded; of a directory, the plan's file in it; of a repository where no file is known, what
    llama-server takes there."""
    file, ref = plan.model.file, plan.model.ref
    if not file and ref.where is Where.HUB:
        return ("-hf", f"{model}:{ref.quantization}" if ref.quantization else model)
    if file and not model.endswith(".gguf"):
        return ("-m", f"{model.rstrip('/')}/{file}")
    return ("-m", model)


def environment(plan: Plan) -> dict[str, str]:
    """The variables that the plan sets for the engine; secrets are not among them."""
    return dict(plan.envs)


def facts(plan: Plan, model: str) -> dict[str, Any]:
    """The command's words, its variables, and the names of its secrets, as `text` says them."""
    words = _typed(plan, model)
    return {"command": list(words), "env": environment(plan), "secrets": list(plan.secret_names)}


def _typed(plan: Plan, model: str) -> tuple[str, ...]:
    """The command with the engine by its name, on the endpoint's own address."""
    executable = plan.executable or (PROGRAMS[plan.engine],)
    return command(plan, executable, model, plan.host or LOOPBACK, plan.port, environment(plan))


def text(plan: Plan, model: str) -> str:
    """The command as a shell would read it. What is only known at the start, and secrets, stand by name;
    `model` is what `command` takes."""
    lines = [f"# needs {plan.pin.requirements[0]}", *(f"# secret: {name}" for name in plan.secret_names)]
    if plan.relay_arguments:
        lines.append(f"# the relay in front of it is told: {shlex.join(plan.relay_arguments)}")
    envs = [f"{name}={shlex.quote(value)} \\" for name, value in environment(plan).items()]
    return "\n".join([*lines, *envs, shlex.join(_typed(plan, model))]) + "\n"
