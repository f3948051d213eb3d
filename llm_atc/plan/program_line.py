"""Which program a command starts, and with which words: through env, sudo, docker run or python -m too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from llm_atc.errors import UsageError
from llm_atc.plan.shell import assignment


class Program(StrEnum):
    """The programs whose command lines are read."""

    VLLM_SERVE = "vllm serve"
    VLLM_API_SERVER = "vllm.entrypoints.openai.api_server"
    LLAMA_SERVER = "llama-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLine:
    """A program, the words that follow it, and the variables that are set for it alone."""

    program: Program
    words: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


_API_MODULES = frozenset(
    {
        "vllm.entrypoints.openai.api_server",
        "vllm.entrypoints.launchers.api_server.entry",
        "vllm.entrypoints.api_server",
    }
)
_CLI_MODULES = frozenset({"vllm", "vllm.entrypoints.cli.main"})
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
# Words before a program that change nothing about its options; the number of words that their flags take.
_WRAPPERS: Mapping[str, frozenset[str]] = {
    "env": frozenset({"-u", "--unset", "-C", "--chdir"}),
    "sudo": frozenset({"-u", "-g"}),
    "nohup": frozenset(),
    "exec": frozenset(),
    "time": frozenset(),
    "nice": frozenset({"-n"}),
    "uvx": frozenset({"--with", "--python", "-p", "--from"}),
    "numactl": frozenset({"-N", "-m", "-C"}),
}
_RUNNERS: Mapping[str, frozenset[str]] = {
    "uv": frozenset({"--with", "--python", "-p", "--project", "--env-file", "--extra"}),
    "poetry": frozenset(),
    "pixi": frozenset({"-e"}),
    "conda": frozenset({"-n", "-p", "--name", "--prefix"}),
}
# Flags of `docker run` that stand alone; every other one takes a word, after a space or an equals sign.
_ALONE = frozenset(
    {
        "--detach",
        "--init",
        "--interactive",
        "--no-healthcheck",
        "--oom-kill-disable",
        "--privileged",
        "--publish-all",
        "--quiet",
        "--read-only",
        "--rm",
        "--sig-proxy",
        "--tty",
    }
)
_ALONE_LETTERS = frozenset("ditPq")


def recognise(words: list[str]) -> ProgramLine | None:
    """The engine that these words start; None where they start something else.

    Raises UsageError for a program of an engine that serves nothing, such as `vllm chat`.
    """
    env: dict[str, str] = {}
    notes: list[str] = []
    rest = _unwrapped(words, env)
    if not rest:
        return None
    name = rest[0].rsplit("/", 1)[-1]
    found = _container(rest[1:], env, notes) if name in _CONTAINERS else _program(name, rest)
    if found is None:
        return None
    return replace(found, env=tuple(env.items()), notes=tuple(notes))


def _unwrapped(words: list[str], env: dict[str, str]) -> list[str]:
    """The words from the program's own on; what is assigned before it goes to `env`."""
    rest = list(words)
    while rest:
        pair = assignment(rest[0])
        name = rest[0].rsplit("/", 1)[-1]
        if pair is not None:
            env[pair[0]] = pair[1]
            rest = rest[1:]
        elif name in _WRAPPERS:
            rest = _after_flags(rest[1:], _WRAPPERS[name])
        elif name in _RUNNERS and rest[1:2] == ["run"]:
            rest = _after_flags(rest[2:], _RUNNERS[name])
        else:
            break
    return rest


def _after_flags(words: list[str], with_word: frozenset[str]) -> list[str]:
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in with_word else 1
    return words[at:]


def _program(name: str, words: list[str]) -> ProgramLine | None:
    if _PYTHON.fullmatch(name):
        return _module(words[1:])
    if name == "vllm":
        return _vllm(words[1:])
    if name == "serve":
        return ProgramLine(program=Program.VLLM_SERVE, words=tuple(words[1:]))
    if name in ("llama-server", "llama-server.exe"):
        return ProgramLine(program=Program.LLAMA_SERVER, words=tuple(words[1:]))
    if words[0].startswith("-"):
        return ProgramLine(program=Program.VLLM_SERVE, words=tuple(words))
    return None


def _vllm(words: list[str]) -> ProgramLine:
    if words[:1] != ["serve"]:
        asked = words[0] if words else ""
        raise UsageError(
            f"vllm {asked} does not serve a model.".replace("  ", " "), hint="vllm serve MODEL …"
        )
    return ProgramLine(program=Program.VLLM_SERVE, words=tuple(words[1:]))


def _module(words: list[str]) -> ProgramLine | None:
    if "-m" not in words:
        script = next((word for word in words if not word.startswith("-")), "")
        return _program("vllm", words[words.index(script) :]) if script.endswith("/vllm") else None
    at = words.index("-m") + 1
    module, rest = (words[at], words[at + 1 :]) if at < len(words) else ("", [])
    if module in _API_MODULES:
        return ProgramLine(program=Program.VLLM_API_SERVER, words=tuple(rest))
    if module in _CLI_MODULES:
        return _vllm(rest)
    if module == "llama_cpp.server":
        raise UsageError(
            "llama_cpp.server is another server with options of its own.", hint="llama-server -m FILE.gguf …"
        )
    return None


def _container(words: list[str], env: dict[str, str], notes: list[str]) -> ProgramLine | None:
    """What a container's image starts: `docker run [flags] IMAGE [words]`."""
    rest = words[1:] if words[:1] == ["container"] else words
    if rest[:1] != ["run"]:
        return None
    rest, entrypoint = rest[1:], None
    while rest and rest[0].startswith("-"):
        flag, value, rest = _container_flag(rest)
        if flag in ("-e", "--env"):
            _container_variable(value, env, notes)
        elif flag == "--entrypoint":
            entrypoint = value
        else:
            _note_flag(flag, value, notes)
    if not rest:
        raise UsageError("docker run names no image.", hint="docker run … vllm/vllm-openai --model MODEL")
    return _image(rest[0], entrypoint, rest[1:], notes)


def _container_flag(words: list[str]) -> tuple[str, str, list[str]]:
    """A flag of `docker run`, its value, and the words after both."""
    word, rest = words[0], words[1:]
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        if equals or flag in _ALONE:
            return flag, value, rest
    elif set(word[1:]) <= _ALONE_LETTERS:
        return word, "", rest
    elif len(word) > 2:
        return word[:2], word[2:].removeprefix("="), rest
    return word, rest[0] if rest else "", rest[1:]


def _container_variable(value: str, env: dict[str, str], notes: list[str]) -> None:
    pair = assignment(value)
    if pair is not None:
        env[pair[0]] = pair[1]
    else:
        notes.append(f"-e {value} takes its value from the environment of docker: none is written here.")


def _note_flag(flag: str, value: str, notes: list[str]) -> None:
    if flag not in _ALONE and not set(flag[1:]) <= _ALONE_LETTERS:
        notes.append(f"{flag} {value}".strip() + " is docker's own, and left out.")


def _image(image: str, entrypoint: str | None, words: list[str], notes: list[str]) -> ProgramLine | None:
    if entrypoint is not None:
        return recognise([entrypoint, *words])
    makers: Mapping[str, Callable[[list[str]], ProgramLine | None]] = {
        "vllm": _vllm_image,
        "llama.cpp": lambda rest: ProgramLine(program=Program.LLAMA_SERVER, words=tuple(rest)),
    }
    found = next((make for name, make in makers.items() if name in image), None)
    return None if found is None else found(words)


def _vllm_image(words: list[str]) -> ProgramLine | None:
    """The official image's entry point is `vllm serve`; a whole command in its place is read as one."""
    if words[:1] and words[0].rsplit("/", 1)[-1] in ("vllm", "python", "python3"):
        return recognise(words)
    return ProgramLine(
        program=Program.VLLM_SERVE, words=tuple(words[1:] if words[:1] == ["serve"] else words)
    )
