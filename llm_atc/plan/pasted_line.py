"""A line that starts an engine, found in what people paste: scripts, wrappers, containers, llm-atc itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import CommandLine, OptionSets, parse_program
from llm_atc.plan.engine import EngineName
from llm_atc.plan.program_line import Program, ProgramLine, recognise
from llm_atc.plan.serve_line import read_serve
from llm_atc.plan.shell import read_script


def parse(text: str, known: OptionSets) -> CommandLine:
    """Read a command line as a person wrote it: one engine, started in any of the usual ways.

    Raises UsageError when nothing in it, or more than one thing, starts an engine, and for every option
    that the pinned engine would refuse.
    """
    script = read_script(text)
    found = [(words, _start(words, known)) for words in script.commands]
    starts = [line for _, line in found if line is not None]
    if len(starts) != 1:
        raise _not_one(script.commands, len(starts))
    others = tuple(f"{' '.join(words)} is not read." for words, line in found if line is None)
    read = parse_program(starts[0], known(_ENGINES[starts[0].program]))
    return replace(
        read,
        env={**script.exported, **read.env},
        notes=(*script.notes, *others, *starts[0].notes, *read.notes),
    )


def _start(words: list[str], known: OptionSets) -> ProgramLine | None:
    if [word.rsplit("/", 1)[-1] for word in words[:2]] == ["llm-atc", "serve"]:
        return read_serve(words[2:], known)
    return recognise(words)


_ENGINES: Mapping[Program, EngineName] = {
    Program.VLLM_SERVE: EngineName.VLLM,
    Program.VLLM_API_SERVER: EngineName.VLLM,
    Program.LLAMA_SERVER: EngineName.LLAMA_CPP,
}


def _not_one(commands: list[list[str]], starts: int) -> UsageError:
    if starts:
        return UsageError(f"These lines start {starts} engines: one at a time is read.")
    hint = "vllm serve MODEL …   or   llama-server -m FILE.gguf …"
    if not commands:
        return UsageError("There is no command in that.", hint=hint)
    first = " ".join(commands[0])
    return UsageError(f"{first[:60]!r} starts no engine that llm-atc knows.", hint=hint)
