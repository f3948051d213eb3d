"""A command line in other words: as a shell line, YAML, JSON, or the `llm-atc serve` that does the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from llm_atc.access import looks_secret
from llm_atc.plan.command_line import CommandLine, option_words, words_of
from llm_atc.plan.engine import EngineName
from llm_atc.plan.llama_line import MODEL_DESTS
from llm_atc.plan.options import Json, Options, OptionSet
from llm_atc.plan.request import text_of_pair
from llm_atc.render.yaml import dump

# What is llm-atc's to say: where the endpoint listens, who may ask, under which name.
_OWN = ("host", "port", "api_key", "served_model_name", "alias", "hf_token", "api_key_file")


def as_facts(line: CommandLine) -> dict[str, Any]:
    """The line as values: engine, model, options under the engine's own names, environment."""
    return {"engine": str(line.engine), "model": line.model, "options": line.options, "env": line.env}


def as_json(line: CommandLine) -> str:
    """The line as JSON."""
    return json.dumps(as_facts(line), indent=2, ensure_ascii=False)


def as_yaml(line: CommandLine) -> str:
    """The line as a YAML document."""
    return dump(as_facts(line))


def as_line(line: CommandLine, known: OptionSet) -> str:
    """The engine's own command, to be typed: variables first, options in full."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in line.env.items()]
    return " ".join([*variables, *map(shlex.quote, words_of(line, known))])


def as_serve(line: CommandLine, known: OptionSet) -> tuple[str, tuple[str, ...]]:
    """The `llm-atc serve` that does the same, and what there is to say about the difference.

    No secret is written: keys and tokens become names of variables.
    """
    notes: list[str] = []
    options = {dest: value for dest, value in line.options.items() if dest not in _OWN}
    words = ["llm-atc", "serve"]
    if line.model is not None:
        words += ["--name", _name(line)]
    if line.engine is EngineName.LLAMA_CPP:
        words += ["--backend", str(line.engine)]
        for dest in MODEL_DESTS:
            if options.get(dest) == line.model:
                options.pop(dest)
    words += _own_words(line.options, notes)
    words += _variables(line, notes)
    left = option_words(options, known)
    if left:
        words += ["--", *left]
    if line.model is None:
        notes.append("The line names no model: add --name.")
    return " ".join(map(shlex.quote, words)), tuple(notes)


def _name(line: CommandLine) -> str:
    """The model; a path gets what makes it look like one."""
    model = line.model or ""
    bare = (
        line.engine is EngineName.LLAMA_CPP and model.endswith(".gguf") and not model.startswith(("/", "."))
    )
    return f"./{model}" if bare and "hf_repo" not in line.options else model


def _own_words(options: Options, notes: list[str]) -> Sequence[str]:
    """What `serve` has options of its own for."""
    words: list[str] = []
    for dest in ("host", "port"):
        if options.get(dest) is not None:
            words += [f"--{dest}", str(options[dest])]
    words += _served_name(options, notes)
    if options.get("api_key"):
        words += ["--api-key", "API_KEY"]
        notes.append("The key is not written here: export API_KEY=…")
    if options.get("api_key_file") is not None:
        notes.append("--api-key-file is left out: give the keys with --api-key.")
    if options.get("hf_token") is not None:
        words += ["--secret", "HF_TOKEN"]
        notes.append("The token is not written here: export HF_TOKEN=…")
    return words


def _served_name(options: Options, notes: list[str]) -> Sequence[str]:
    """The first of the names that requests may call the model by: `serve` has one."""
    first, *others = (*_names(options.get("served_model_name")), *_names(options.get("alias"))) or ("",)
    notes += [f"The name {name} is left out: requests call the model {first}." for name in others]
    return ("--served-model-name", first) if first else ()


def _names(value: Json) -> list[str]:
    """vLLM's list, or llama-server's names with commas between."""
    texts = value if isinstance(value, list) else str(value or "").split(",")
    return [name for text in texts if (name := str(text).strip())]


def _variables(line: CommandLine, notes: list[str]) -> Sequence[str]:
    words: list[str] = []
    given = line.options.get("hf_token") is not None
    for name, value in line.env.items():
        if not looks_secret(name):
            words += ["--envs", text_of_pair(name, value)]
        elif not (given and name == "HF_TOKEN"):
            words += ["--secret", name]
            notes.append(f"The value of {name} is not written here: export {name}=…")
    return words
