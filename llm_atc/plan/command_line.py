"""A line that starts an engine, as one value: read from what people type, and written again as words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llm_atc.errors import UsageError
from llm_atc.plan.engine import EngineName
from llm_atc.plan.llama_line import MODEL_DESTS, parse_llama
from llm_atc.plan.options import Json, Kind, Option, Options, OptionSet
from llm_atc.plan.program_line import Program, ProgramLine
from llm_atc.plan.values import text_of
from llm_atc.plan.vllm_line import parse_vllm

OptionSets = Callable[[EngineName], OptionSet]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """An engine, its model, the options that are set, and the variables of its environment.

    Options go by the names that the engine's own parser gives them (`max_model_len`), with its values.
    `notes` are remarks on how the text was read; they are no part of what it says.
    """

    engine: EngineName
    model: str | None = None
    options: Options = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)


def parse_program(line: ProgramLine, known: OptionSet) -> CommandLine:
    """Read the words that follow an engine's own command. Raises UsageError."""
    if line.program is Program.LLAMA_SERVER:
        model, options = parse_llama(line.words, known)
    else:
        model, options = parse_vllm(line.words, known, serve=line.program is Program.VLLM_SERVE)
    notes = _remarks(line.words, options, known)
    return CommandLine(engine=known.engine, model=model, options=options, env=dict(line.env), notes=notes)


def parse_words(words: Sequence[str], known: OptionSet) -> CommandLine:
    """Read an engine's options alone, with no program before them. Raises UsageError."""
    program = Program.LLAMA_SERVER if known.engine is EngineName.LLAMA_CPP else Program.VLLM_SERVE
    return parse_program(ProgramLine(program=program, words=tuple(words)), known)


def _remarks(words: Sequence[str], options: Options, known: OptionSet) -> tuple[str, ...]:
    notes = []
    for dest in options:
        option = known.by_dest[dest]
        if option.deprecated:
            notes.append(f"{option.name} is deprecated in {known.title}.")
    if known.engine is EngineName.VLLM and isinstance(options.get("config"), str):
        ignored = not any(word == "--config" for word in words)
        notes.append(
            f"--config={options['config']} is ignored by vLLM in silence: it wants a space, no equals sign."
            if ignored
            else f"vLLM adds what stands in {options['config']} when it starts; that file is not read here."
        )
    return tuple(notes)


# --- and back ---------------------------------------------------------------------------------------------


def words_of(line: CommandLine, known: OptionSet) -> tuple[str, ...]:
    """The engine's own command for this line: `parse_words` reads from it what it was made of."""
    head = ("llama-server",) if line.engine is EngineName.LLAMA_CPP else ("vllm", "serve")
    return (*head, *_model_words(line), *option_words(line.options, known))


def _model_words(line: CommandLine) -> tuple[str, ...]:
    if line.model is None:
        return ()
    if line.engine is EngineName.VLLM:
        return (line.model,)
    named = next((line.options[dest] for dest in MODEL_DESTS if line.options.get(dest)), None)
    return () if named == line.model else ("--model", line.model)


def option_words(options: Options, known: OptionSet) -> tuple[str, ...]:
    """The options as words, in full and with dashes; options of several values and flags as the engine likes.

    Raises UsageError for a name that the engine does not have.
    """
    words: list[str] = []
    for dest, value in options.items():
        option = known.by_dest.get(dest)
        if option is None or option.positional:
            raise UsageError(f"{known.title} has no option {dest!r}.", hint=known.nearest(f"--{dest}"))
        words += _words(option, value, spaced=known.engine is EngineName.LLAMA_CPP)
    return tuple(words)


def _words(option: Option, value: Json, *, spaced: bool) -> list[str]:
    if option.kind in (Kind.FLAG, Kind.SWITCH):
        return _switch(option, value)
    if option.kind is Kind.APPEND and isinstance(value, list):
        return [word for one in value for word in _pair(option, text_of(one, option), spaced)]
    if option.kind is Kind.LORA and isinstance(value, list):
        return [option.name, *(_adapter(one) for one in value)] if value else [f"{option.name}="]
    if option.nargs in ("+", "*") or isinstance(option.nargs, int):
        texts = [text_of(one, option) for one in (value if isinstance(value, list) else [value])]
        return [f"{option.name}={texts[0]}"] if len(texts) == 1 and not spaced else [option.name, *texts]
    if option.nargs == "?" and value == option.const:
        return [option.name]
    return _pair(option, text_of(value, option), spaced)


def _switch(option: Option, value: Json) -> list[str]:
    if value:
        return [option.name]
    negative = next((flag for flag in option.negatives if flag.startswith("--")), None)
    if negative is None:
        return []
    return [negative]


def _pair(option: Option, text: str, spaced: bool) -> list[str]:
    """`--flag value`, or `--flag=value` where a parser would take the value for a flag or for nothing."""
    if spaced or (text and not text.startswith("-")):
        return [option.name, text]
    return [f"{option.name}={text}"]


def _adapter(value: Json) -> str:
    plain = isinstance(value, dict) and set(value) == {"name", "path"}
    if plain and isinstance(value, dict):
        text = f"{value['name']}={value['path']}"
        if "," not in text and "=" not in str(value["name"]) and not text.startswith("-"):
            return text
    return text_of(value, _AS_JSON)


_AS_JSON = Option(name="", flags=(), dest="", kind=Kind.VALUE, type="json")
