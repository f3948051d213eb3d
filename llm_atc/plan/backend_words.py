"""The engine's own options, however they were given, as the words that follow its command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import OptionSets, option_words, parse_words
from llm_atc.plan.engine import EngineName
from llm_atc.plan.options import Json, Option, Options, OptionSet

# Older names of llama-server's options; here they mean its own.
OLDER = {
    "--num-gpu-layers": "--n-gpu-layers",
    "--max-ctx-size": "--ctx-size",
    "--num-threads": "--threads",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What was said to the engine itself: `words` as they were typed, `options` by name, both in order.

    `older` are the older options of llama.cpp by flag; `warned` are those of them whose new form is to be
    told. `after` are the words that stood behind `--`.
    """

    words: tuple[str, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)
    older: Mapping[str, int] = field(default_factory=dict)
    warned: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The words that go to the engine, and what is to be said of them, a sentence each."""

    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


def join(said: Backend, engine: EngineName, known: OptionSets) -> Joined:
    """All of it as words, options first, what stood after `--` last.

    Raises UsageError for an option that belongs to another engine, and for a name that no option has.
    """
    mine, other = known(engine), known(_other(engine))
    if said.older and engine is not EngineName.LLAMA_CPP:
        flag = next(iter(said.older))
        raise _belongs(flag, mine, EngineName.LLAMA_CPP)
    notes: list[str] = []
    typed: list[str] = []
    for flag, value in said.older.items():
        if flag in said.warned:
            notes.append(_deprecated(flag, str(value)))
        typed += [OLDER[flag], str(value)]
    typed += option_words(_by_dest(said.options, mine, other, notes), mine)
    typed += _renewed((*said.words, *said.after), engine, notes)
    for word in typed:
        if _is_others(word, mine, other):
            raise _belongs(word.partition("=")[0], mine, other.engine)
    return Joined(words=tuple(typed), notes=tuple(dict.fromkeys(notes)))


def check_once(common: tuple[str, ...], own: tuple[str, ...], known: OptionSet) -> None:
    """UsageError where llm-atc's own options and the engine's say different things of one matter."""
    if not common or not own:
        return
    ours, theirs = _options(common, known), _options(own, known)
    for dest, value in ours.items():
        if dest in theirs and theirs[dest] != value:
            flag = known.by_dest[dest].name
            raise UsageError(
                f"{_spoken(flag, value)}, of llm-atc's options, and {_spoken(flag, theirs[dest])}, of "
                "the engine's, contradict each other.",
                hint="leave one away",
            )


def _spoken(flag: str, value: Json) -> str:
    return flag if value is True else f"{flag} {value}"


def _options(words: tuple[str, ...], known: OptionSet) -> Options:
    model = ("MODEL",) if known.engine is EngineName.VLLM else ()
    return parse_words((*model, *words), known).options


def _other(engine: EngineName) -> EngineName:
    return EngineName.LLAMA_CPP if engine is EngineName.VLLM else EngineName.VLLM


def _by_dest(said: Mapping[str, Json], mine: OptionSet, other: OptionSet, notes: list[str]) -> Options:
    found: Options = {}
    for name, value in said.items():
        flag = f"--{name.lstrip('-').replace('_', '-')}"
        if mine.engine is EngineName.LLAMA_CPP and flag in OLDER:
            notes.append(_deprecated(flag, str(value)))
            flag = OLDER[flag]
        option = _option(flag, mine)
        if option is None:
            if _option(flag, other) is not None:
                raise _belongs(flag, mine, other.engine)
            close = mine.nearest(flag)
            raise UsageError(
                f"{mine.title} has no option {name!r}." + (f" Did you mean {close}?" if close else ""),
                hint=close,
            )
        found[option.dest] = (not value) if flag in option.negatives and isinstance(value, bool) else value
    return found


def _option(flag: str, known: OptionSet) -> Option | None:
    return known.by_flag.get(flag) or known.by_flag.get(flag[1:] if len(flag) < 7 else flag)


def _renewed(words: tuple[str, ...], engine: EngineName, notes: list[str]) -> list[str]:
    """The words with older names of llama-server's options replaced."""
    if engine is not EngineName.LLAMA_CPP:
        return list(words)
    found: list[str] = []
    for at, word in enumerate(words):
        flag, equals, value = (
            word.replace("_", "-").partition("=") if word.startswith("--") else (word, "", "")
        )
        if flag not in OLDER:
            found.append(word)
            continue
        value = value or (words[at + 1] if at + 1 < len(words) else "")
        notes.append(_deprecated(flag, value))
        found += [OLDER[flag], value] if equals else [OLDER[flag]]
    return found


def _deprecated(flag: str, value: str) -> str:
    return f"{flag} is an older form, and will go: write -- {OLDER[flag]} {value}".rstrip()


def _is_others(word: str, mine: OptionSet, other: OptionSet) -> bool:
    """Whether this is an option of the other engine alone; a shortened one of this engine is not."""
    if not word.startswith("-") or word.lstrip("-")[:1].isdigit():
        return False
    flag = word.partition("=")[0].partition(".")[0]
    flag = flag.replace("_", "-") if flag.startswith("--") else flag
    if flag in mine.by_flag or flag not in other.by_flag:
        return False
    return not any(known.startswith(flag) for known in mine.by_flag) or mine.engine is EngineName.LLAMA_CPP


def _belongs(flag: str, mine: OptionSet, owner: EngineName) -> UsageError:
    title = "llama-server" if owner is EngineName.LLAMA_CPP else "vLLM"
    return UsageError(
        f"{flag} is an option of {title}, and {mine.title} is to run.",
        hint=f"--backend {owner}, or leave {flag} away",
    )
