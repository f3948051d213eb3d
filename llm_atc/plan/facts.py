"""An engine's options as a mapping, such as YAML and JSON hold them, checked by the engine's own parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import CommandLine, OptionSets, option_words, parse_words, words_of
from llm_atc.plan.engine import EngineName
from llm_atc.plan.options import Json, Kind, Option, Options, OptionSet
from llm_atc.plan.values import ValueRefused, read_json

_JSON_TYPES = ("json", "json-or-text", "config", "device-ids")
_KEYS = ("engine", "model", "options", "env")


def read_facts(facts: Mapping[str, Any], known: OptionSets) -> CommandLine:
    """The command line that `{"engine", "model", "options", "env"}` means; vLLM where no engine is named.

    Raises UsageError for an unknown key or engine, and for every option that the engine would refuse.
    """
    unknown = [key for key in facts if key not in _KEYS]
    if unknown:
        raise UsageError(f"There is no key {unknown[0]!r} here: {', '.join(_KEYS)}.")
    engine = facts.get("engine") or EngineName.VLLM
    if engine not in list(EngineName):
        raise UsageError(f"No engine is called {engine!r}.", hint="engine: vllm   or   engine: llama-cpp")
    options, env, model = facts.get("options") or {}, facts.get("env") or {}, facts.get("model")
    if not isinstance(options, Mapping) or not isinstance(env, Mapping):
        raise UsageError("options and env hold names and values.")
    of_engine = known(EngineName(engine))
    line = CommandLine(
        engine=of_engine.engine,
        model=None if model is None else str(model),
        options=read_options(options, of_engine),
        env={str(name): str(value) for name, value in env.items()},
    )
    if line.model is not None and line.model.startswith("-"):
        raise UsageError(f"{line.model!r} is not a model.")
    return parse_with_env(line, of_engine)


def parse_with_env(line: CommandLine, known: OptionSet) -> CommandLine:
    """The line as the engine's parser reads it when it is written down."""
    head = 1 if line.engine is EngineName.LLAMA_CPP else 2
    read = parse_words(words_of(line, known)[head:], known)
    return CommandLine(
        engine=line.engine, model=line.model, options=read.options, env=line.env, notes=read.notes
    )


def read_options(mapping: Mapping[Any, Any], known: OptionSet) -> Options:
    """Options from a mapping, with dashes or underscores in their names, as the engine's parser has them.

    None stands for "no value" where the engine knows that, and for "not set" elsewhere.
    Raises UsageError for a name, a type or a choice that the engine does not have.
    """
    options: Options = {}
    for name, value in mapping.items():
        dest = dest_of(str(name), known)
        if dest in options:
            raise UsageError(f"{name} stands there twice, with a dash and with an underscore.")
        options[dest] = _value(known.by_dest[dest], value)
    given = {dest: value for dest, value in options.items() if value is not None or _knows_none(dest, known)}
    model = () if known.engine is EngineName.LLAMA_CPP else ("model",)  # vLLM wants one before some options
    return parse_words((*model, *option_words(given, known)), known).options


def _knows_none(dest: str, known: OptionSet) -> bool:
    option = known.by_dest[dest]
    return option.optional or option.type == "json"


def _value(option: Option, value: Any) -> Json:
    """The value, from JSON where it was written as text."""
    _check_kind(option, value)
    if option.type in ("json", "config") and isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return read_json(value)
        except ValueRefused as error:
            raise UsageError(f"{option.name}: {error}.") from None
    read: Json = value
    return read


def _check_kind(option: Option, value: Any) -> None:
    """UsageError for a list or an object where one value is wanted, and for other than true and false."""
    if value is None or option.type in _JSON_TYPES:
        return
    if option.kind in (Kind.FLAG, Kind.SWITCH):
        if not isinstance(value, bool):
            raise UsageError(f"{option.name} is true or false, not {value!r}.")
    elif isinstance(value, bool) and value != option.const:
        raise UsageError(f"{option.name} wants a value, not {value}.")
    elif isinstance(value, list | dict) and option.kind is Kind.VALUE and option.nargs is None:
        raise UsageError(f"{option.name} wants one value, not {value!r}.")


def dest_of(name: str, known: OptionSet) -> str:
    """What the engine calls the option of a key: `max-model-len`, `max_model_len` or `--max-model-len`."""
    dest = name.lstrip("-").replace("-", "_")
    if dest in known.by_dest and not known.by_dest[dest].positional:
        return dest
    flag = f"--{dest.replace('_', '-')}"
    option = known.by_flag.get(flag)
    if option is not None and flag not in option.negatives:
        return option.dest
    close = known.nearest(flag)
    raise UsageError(
        f"{known.title} has no option {name!r}." + (f" Did you mean {close}?" if close else ""), hint=close
    )
