"""The pinned engines' own parsers, asked about the same lines: what they accept, read and refuse."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_atc.engines import options as made
from llm_atc.engines.installer import EnginesHere
from llm_atc.errors import UsageError
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.command_line import parse_program, words_of
from llm_atc.plan.engine import EngineName
from llm_atc.plan.option_checks import check
from llm_atc.plan.options import Kind
from llm_atc.plan.program_line import Program, ProgramLine, recognise
from llm_atc.plan.shapes import Shape
from llm_atc.plan.shell import read_script
from llm_atc.store.engine_options import engine_options, known_models
from tests.local_fixtures import Told
from tests.unit.corpus import entries

KNOWN = engine_options(EngineName.VLLM)
TEXTS = [
    "",
    "None",
    "1",
    "-1",
    "1.5",
    "abc",
    "1k",
    "1.5K",
    "[]",
    '{"a": 1}',
    "null",
    "auto",
    "-x",
    " 7 ",
    "--x_y",
]
VALUES = [None, True, 0, -1, 1.5, 3.0, "1", "1.0", "abc", "FULL", "none", [], ["a"], [1], {}, {"a": "b"}]
# What vLLM opens, imports, makes up or switches off by the platform.
NOT_THE_PARSERS = {
    *("config", "engine_id", "inductor_passes", "enable_qk_norm_rope_fusion", "fuse_rope_kvcache_cat_mla"),
    *("fuse_act_padding", "fuse_mla_dual_rms_norm", "fuse_rope_kvcache", "fuse_qk_norm_rope_kvcache"),
}


@pytest.fixture(scope="module")
def vllm_python(real_engines: EnginesHere) -> Path:
    return Path(real_engines.ensure(vllm.CPU_PIN, Told())).with_name("python")


@pytest.fixture(scope="module")
def llama_server(real_engines: EnginesHere) -> Path:
    return Path(real_engines.ensure(llama_cpp.PIN, Told()))


def program_of(text: str) -> ProgramLine | None:
    """The one engine that a text starts; None where it starts none, or several."""
    try:
        found = [line for words in read_script(text).commands if (line := recognise(words)) is not None]
    except UsageError:
        return None
    return found[0] if len(found) == 1 else None


def probes() -> Iterator[ProgramLine]:
    """Every option with a few texts, and every field of a JSON option with a few values."""
    for option in KNOWN.options:
        if option.positional or option.kind is Kind.HELP or option.dest in NOT_THE_PARSERS:
            continue
        words = [[option.name, text] for text in TEXTS] + [[f"{option.name}={text}"] for text in TEXTS]
        words += [[flag] for flag in option.flags]
        for path in fields(KNOWN.configs[option.config]) if option.config else ():
            words += [[option.name, json.dumps(nested(path, value))] for value in VALUES]
            words += [[".".join([option.name, *path]), text] for text in ("1", "1k", "abc", "true", '"1"')]
        for one in words:
            yield ProgramLine(program=Program.VLLM_SERVE, words=("M", *one))


def fields(shape: Shape, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field within an object."""
    for name, inner in shape.fields.items():
        if name not in NOT_THE_PARSERS:
            yield (*path, name)
            yield from fields(inner, (*path, name))


def nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def asked(text: str, line: ProgramLine) -> dict[str, Any]:
    """The line as llm-atc reads it; `options` are None where it refuses."""
    try:
        read = parse_program(line, KNOWN)
    except UsageError:
        return {"text": text, "program": line.program, "words": line.words, "model": None, "options": None}
    return {
        "text": text,
        "program": line.program,
        "words": line.words,
        "model": read.model,
        "options": read.options,
    }


def answers(python: Path, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [python, "-P", Path(__file__).with_name("vllm_reference.py")],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"VLLM_TARGET_DEVICE": "cpu", "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.rpartition("\n@@")[2])
    return found


@pytest.fixture(scope="module")
def told(vllm_python: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Lines with what vLLM says of them: the corpus, the same as llm-atc prints it, and every option with
    values good and bad."""
    corpus = [(entry.text, program_of(entry.text)) for entry in entries("vllm_lines.txt")]
    lines = [asked(text, line) for text, line in corpus if line is not None]
    printed = [asked(" ".join(line.words), line) for line in probes()]
    for line in lines:
        if line["options"] is not None and "config" not in line["options"]:
            read = parse_program(ProgramLine(program=line["program"], words=tuple(line["words"])), KNOWN)
            words = words_of(read, KNOWN)[2:]
            if not words or not words[0].startswith("-") or "served_model_name" not in read.options:
                printed.append(
                    {**line, "text": f"{line['text']} → {words}", "program": "vllm serve", "words": words}
                )
    return list(zip([*lines, *printed], answers(vllm_python, [*lines, *printed]), strict=True))


def test_vllm_accepts_and_refuses_the_same_lines(told: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    assert len(told) > 10_000
    wrong = [
        (line["text"], answer.get("error", "accepted"))
        for line, answer in told
        if ("error" in answer) is (line["options"] is not None)
    ]
    assert wrong == []


def test_vllm_reads_the_same_values(told: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    wrong = [
        (line["text"], answer["differs"])
        for line, answer in told
        if line["options"] is not None and answer.get("differs")
    ]
    assert wrong == []


def test_what_vllm_refuses_after_parsing_is_refused_or_mended(
    told: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    late = [
        line for line, answer in told if answer.get("late") and "chat_template" not in str(line["options"])
    ]
    assert len(late) >= 4
    for line in late:
        read = parse_program(ProgramLine(program=line["program"], words=tuple(line["words"])), KNOWN)
        try:
            mended = check(read, KNOWN)
        except UsageError:
            continue
        assert mended.options != read.options, line["text"]


def test_llama_server_accepts_and_refuses_the_same_lines(llama_server: Path, tmp_path: Path) -> None:
    known = engine_options(EngineName.LLAMA_CPP)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    wrong = []
    for entry in entries("llama_lines.txt"):
        line = program_of(entry.text)
        assert line is not None, entry.text
        try:
            parse_program(line, known)
            ours = True
        except UsageError:
            ours = False
        done = subprocess.run(
            [llama_server, *line.words, "--version"],
            capture_output=True,
            cwd=tmp_path,
            env=environ,
            check=False,
        )
        if (done.returncode == 0) is not ours or ours is entry.bad:
            wrong.append((entry.text, ours, done.stderr[-200:]))
    assert wrong == []


def test_the_lists_of_options_are_those_of_the_pinned_engines(engines_home: Path) -> None:
    for name, text in made.made_anew(engines_home).items():
        assert text == (made.DATA / name).read_text(encoding="utf-8"), (
            f"{name} is out of date: python -m llm_atc.engines.options --write"
        )


def test_the_architectures_of_llama_cpp_are_in_its_program(llama_server: Path) -> None:
    program = llama_server.read_bytes()
    known = known_models(EngineName.LLAMA_CPP)
    absent = [
        name for name in known.architectures if name.encode() + b"\0" not in program
    ]  # strings share their tails
    assert absent == []
    assert len(known.architectures) > 100
