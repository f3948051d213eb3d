"""An `llm-atc serve` command as the engine's own line that it means: what is not the engine's is left out.

Its flags are those of the table of keys, so that a new one is never unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llm_atc.errors import UsageError
from llm_atc.plan import inference
from llm_atc.plan.asked import engine_of, read_inference
from llm_atc.plan.asked_words import read_backend
from llm_atc.plan.backend_words import check_once, join
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.engine import EngineName
from llm_atc.plan.key_values import Misfit, check, nearest
from llm_atc.plan.keys import KEYS, Key, Kind, Value, Values
from llm_atc.plan.layers import FLAG, Layer, Settled, settle
from llm_atc.plan.program_line import Program, ProgramLine
from llm_atc.plan.request import split_pairs

# What `serve` takes beside the settings; tests hold this against the command itself.
WITH_VALUE = frozenset({"--config", "--timeout"})
ALONE = frozenset(
    {"--foreground", "--dry-run", "--force", "--verbose", "-v", "--yes", "-y", "--json", "--help"}
    | {"--detach-run", "--detach_run", "-d", "--detach-setup", "--detach_setup"}
)
# What the engine's own line says too, beside everything of `inference`.
_TAKEN = frozenset(
    {"envs", "model.name", "model.revision", "model.trust_remote_code", "server.host", "server.port"}
    | {"server.served_model_name", "serve.model_path", "serve.backend", "serve.backend_args"}
    | {"serve.vllm_args", "serve.gpu_layers", "serve.max_ctx_size", "serve.num_threads"}
)
_LISTS = (Kind.TEXTS, Kind.PAIRS, Kind.WORDS)
_NUMBERS = {Kind.INTEGER: int, Kind.NUMBER: float}


def _flags() -> Iterator[tuple[str, tuple[Key, bool]]]:
    """Every flag with its key, and what a switch's means."""
    for key in KEYS:
        for declared in key.flags:
            on, _, off = declared.partition("/")
            yield from ((flag.strip(), (key, means)) for flag, means in ((on, True), (off, False)))


_BY_FLAG = {flag: found for flag, found in _flags() if flag}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeWords:
    """What stands behind `llm-atc serve`: settings by key, and the other flags of the command, as typed."""

    values: Values
    own: tuple[str, ...] = ()


def read_serve(words: list[str], known: OptionSets) -> ProgramLine:
    """The engine's line that the words after `llm-atc serve` mean, with a note for what is llm-atc's own.

    Raises UsageError for a flag that `serve` does not have, and for a value that it does not take.
    """
    cut = words.index("--") if "--" in words else len(words)
    read = read_values(words[:cut])
    settled = settle([Layer(source=FLAG, values=read.values)])
    said = {name: one.value for name, one in settled.items()}
    model = str(said["model.name"] or said["serve.model_path"] or "")
    engine = engine_of(said) or (EngineName.LLAMA_CPP if model.endswith(".gguf") else EngineName.VLLM)
    joined = join(read_backend(settled, tuple(words[cut + 1 :])), engine, known)
    common = inference.words_with_gpus(read_inference(settled), engine)
    check_once(common, joined.words, known(engine))
    llama = engine is EngineName.LLAMA_CPP
    envs = dict(split_pairs(_texts(said["envs"]), flag="--envs"))
    left = (*_left_out(read.values, engine), *read.own)
    return ProgramLine(
        program=Program.LLAMA_SERVER if llama else Program.VLLM_SERVE,
        words=(*_model_words(model, llama=llama), *_server_words(settled, llama), *common, *joined.words),
        env=tuple((name, value) for name, value in envs.items() if value is not None),
        notes=(
            *joined.notes,
            *(f"{text} is llm-atc's own, and left out." for text in left),
            *(f"{name} has no value in this line: it is left out." for name in envs if envs[name] is None),
        ),
    )


def read_values(words: list[str]) -> ServeWords:
    """The settings that these words are. Raises UsageError."""
    values: dict[str, Value] = {}
    own: list[str] = []
    waiting = iter(words)
    for word in waiting:
        flag, value = _parted(word)
        key, means = _BY_FLAG.get(flag, (None, True))
        if key is None:
            own.append(_own(flag, value, waiting))
        elif key.kind is Kind.SWITCH:
            values[key.name] = means
        else:
            text = next(waiting, None) if value is None else value
            if text is None:
                raise UsageError(f"{flag} wants a value.", hint=f"{flag} {key.example or '…'}")
            values[key.name] = _value(key, flag, text, values.get(key.name))
    return ServeWords(values=values, own=tuple(own))


def _parted(word: str) -> tuple[str, str | None]:
    """A flag, and the value that is written to it; the model that stands alone as `--name`."""
    if not word.startswith("-"):
        return "--name", word
    flag, equals, value = word.partition("=")
    if not word.startswith("--") and len(word) > 2 and flag not in ALONE:
        return word[:2], word[2:]
    return flag, value if equals else None


def _own(flag: str, value: str | None, waiting: Iterator[str]) -> str:
    """A flag of the command that is no setting, with its value."""
    if flag in WITH_VALUE:
        return f"{flag} {next(waiting, '') if value is None else value}".strip()
    if flag in ALONE:
        return flag
    close = nearest(flag, (*_BY_FLAG, *WITH_VALUE, *ALONE))
    raise UsageError(
        f"llm-atc serve has no option {flag}." + (f" Did you mean {close}?" if close else ""),
        hint="llm-atc serve --help",
    )


def _value(key: Key, flag: str, text: str, before: Value) -> Value:
    if key.kind in _LISTS:
        return [*(before if isinstance(before, list) else ()), text]
    try:
        value = _NUMBERS[key.kind](text) if key.kind in _NUMBERS else text
        check(key, value)
    except Misfit as error:
        raise UsageError(f"{flag} {error}.", hint="llm-atc serve --help") from None
    except ValueError:
        raise UsageError(f"{flag} {text!r} is no number.", hint="llm-atc serve --help") from None
    return value


def _left_out(values: Values, engine: EngineName) -> Iterator[str]:
    """What was said and is not for this engine, without what is secret."""
    for key in KEYS:
        if key.name not in values or key.section == "inference" or key.name in _TAKEN:
            continue
        yield f"{key.flag} {_shown(key, values[key.name])}".strip()
    if engine is EngineName.LLAMA_CPP:
        yield from (f"{flag} {values[name]}" for name, flag in _VLLM_ALONE.items() if name in values)


_VLLM_ALONE = {"inference.gpus": "--gpus", "model.revision": "--revision"}


def _shown(key: Key, value: Value) -> str:
    if key.secret or key.kind is Kind.SWITCH:
        return ""
    return " ".join(_texts(value)) if isinstance(value, list) else str(value)


def _texts(value: Value) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _server_words(settled: Settled, llama: bool) -> tuple[str, ...]:
    flags = {
        "server.host": "--host",
        "server.port": "--port",
        "server.served_model_name": "--alias" if llama else "--served-model-name",
        **({} if llama else {"model.revision": "--revision"}),
    }
    said = ((flag, settled[name].value) for name, flag in flags.items())
    return tuple(word for flag, value in said if value is not None for word in (flag, str(value)))


def _model_words(model: str, *, llama: bool) -> tuple[str, ...]:
    if not model:
        return ()
    if not llama:
        return (model,)
    path = model.endswith(".gguf") or model.startswith(("/", ".", "~"))
    return ("-m" if path else "-hf", model)
