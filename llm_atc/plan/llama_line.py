"""llama-server's way with a command line: one flag and its values after the other, nothing shortened.

Source: common_params_parse_ex in common/arg.cpp of the pinned llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_atc.errors import UsageError
from llm_atc.plan.options import Json, Kind, Option, Options, OptionSet
from llm_atc.plan.values import ValueRefused, convert

# Where llama-server takes its model from, in the order of what is reported as the model.
MODEL_DESTS = ("model", "hf_repo", "docker_repo", "model_url")


def parse_llama(words: Sequence[str], known: OptionSet) -> tuple[str | None, Options]:
    """The model and the options that these words set. Raises UsageError, naming the flag."""
    options: Options = {}
    waiting = iter(words)
    for word in waiting:
        flag = word.replace("_", "-") if word.startswith("--") else word
        option = known.by_flag.get(flag)
        if option is None:
            raise _unknown(word, known)
        options[option.dest] = _value(option, flag, waiting, known)
    model = next((options[dest] for dest in MODEL_DESTS if options.get(dest)), None)
    options.pop("model", None)
    ordered = {option.dest: options[option.dest] for option in known.options if option.dest in options}
    return None if model is None else str(model), ordered


def _value(option: Option, flag: str, waiting: Iterator[str], known: OptionSet) -> Json:
    if option.kind is Kind.HELP:
        raise UsageError(f"{flag} prints something and ends: there is nothing to serve in that line.")
    if option.kind in (Kind.FLAG, Kind.SWITCH):
        return flag not in option.negatives
    count = option.nargs if isinstance(option.nargs, int) else 1
    texts = [text for _, text in zip(range(count), waiting, strict=False)]
    if len(texts) < count:
        raise UsageError(
            f"{flag} wants {'a value' if count == 1 else f'{count} values'}.", hint=f"{flag} VALUE"
        )
    try:
        values = [convert(text, option, known.configs) for text in texts]
    except ValueRefused as error:
        raise UsageError(f"{option.name}: {error}.") from None
    return values[0] if count == 1 else values


def _unknown(word: str, known: OptionSet) -> UsageError:
    if not word.startswith("-"):
        return UsageError(
            f"{word!r} belongs to no option: {known.title} takes its model with -m or -hf.", hint=f"-m {word}"
        )
    name, equals, value = word.partition("=")
    if equals and name in known.by_flag:
        return UsageError(f"{known.title} reads no {name}=VALUE.", hint=f"{name} {value}")
    close = known.nearest(word)
    return UsageError(
        f"{known.title} has no option {name}." + (f" Did you mean {close}?" if close else ""), hint=close
    )
