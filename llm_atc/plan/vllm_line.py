"""vLLM's way with a command line: its FlexibleArgumentParser, built from the pinned version's options.

Source: vllm/utils/argparse_utils.py. What that parser does to the words before argparse sees them is done
here in the same order; argparse is the same.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NoReturn

from llm_atc.errors import UsageError
from llm_atc.plan.options import Json, Kind, Option, Options, OptionSet
from llm_atc.plan.values import ValueRefused, convert, read_json, read_size

_MODEL = re.compile(r"^--model(=.+|$)")
_SERVED_NAME = re.compile(r"^--served[-_]model[-_]name(=.+|$)")
_CONFIG = re.compile(r"^--config(=.+|$)")
# Everything between the first -- and the first dot.
_UNDERSCORED = re.compile(r"(?<=--)[^\.]*")
_AMBIGUOUS = re.compile(r"ambiguous option: (.+) could match (.+)")
_LEVELS = frozenset("0123")


def parse_vllm(words: Sequence[str], known: OptionSet, *, serve: bool) -> tuple[str | None, Options]:
    """The model and the options that these words set; `serve` says that they follow `vllm serve`.

    Raises UsageError for what the pinned parser refuses, naming the flag.
    """
    args = _model_first(list(words)) if serve else list(words)
    _check_config_file(args)
    args = _gather_dotted(_spelled(args), known)
    try:
        found, extras = _parser(known).parse_known_args(args)
    except argparse.ArgumentError as error:
        raise _refused(error, known) from None
    if extras:
        raise _unknown(extras, known)
    values = vars(found)
    tag = values.pop("model_tag", None)
    named = values.pop("model", None)
    model = tag if serve and tag is not None else named
    return model, {option.dest: values[option.dest] for option in known.options if option.dest in values}


def _model_first(args: list[str]) -> list[str]:
    """`--model M` moved to the front, where `vllm serve` wants it."""
    at = next((i for i, arg in enumerate(args) if _MODEL.match(arg)), None)
    if at is not None:
        inline = args[at] != "--model"
        if not inline and at + 1 == len(args):
            raise UsageError("--model wants a value.", hint="--model OWNER/NAME")
        model = args[at].removeprefix("--model=") if inline else args[at + 1]
        return [model, *args[:at], *args[at + (1 if inline else 2) :]]
    flag_first = bool(args) and args[0].startswith("-")
    if flag_first and not any(map(_CONFIG.match, args)) and any(map(_SERVED_NAME.match, args)):
        raise UsageError(
            "With --served-model-name the model must come first.",
            hint="vllm serve MODEL --served-model-name …",
        )
    return args


def _check_config_file(args: list[str]) -> None:
    """UsageError for a `--config` that vLLM would not open; the file itself is not looked at."""
    if "--config" not in args:
        return
    at = args.index("--config")
    if args.count("--config") > 1:
        raise UsageError("--config stands there twice: vLLM reads one file.")
    if at + 1 == len(args):
        raise UsageError("--config wants a file.", hint="--config FILE.yaml")
    if args[at + 1].rsplit(".", 1)[-1] not in ("yaml", "yml"):
        raise UsageError(
            f"--config {args[at + 1]!r}: vLLM reads files that end in .yaml or .yml only.",
            hint="--config FILE.yaml",
        )


def _spelled(args: list[str]) -> list[str]:
    """Flags with dashes for underscores, and `-O3` in full."""
    spelled = []
    for i, arg in enumerate(args):
        if arg.startswith("--help="):
            spelled.append("--help")
        elif arg.startswith("--"):
            key, equals, value = arg.partition("=")
            key = _UNDERSCORED.sub(lambda found: found[0].replace("_", "-"), key, count=1)
            spelled.append(f"{key}{equals}{value}")
        elif arg.startswith("-O") and arg != "-O":
            spelled += ["--optimization-level", arg[3:] if arg[2] == "=" else arg[2:]]
        elif arg == "-O" and args[i + 1 : i + 2] and args[i + 1] in _LEVELS:
            spelled.append("--optimization-level")
        else:
            spelled.append(arg)
    return spelled


def _gather_dotted(args: list[str], known: OptionSet) -> list[str]:
    """`--x.a 1 --x.b=2` as one `--x '{"a": 1, "b": 2}'` at the end."""
    kept: list[str] = []
    objects: dict[str, dict[str, Any]] = {}
    waiting = iter(args)
    for arg in waiting:
        key, equals, value = arg.partition("=")
        if not arg.startswith("-") or "." not in key:
            kept.append(arg)
            continue
        if not equals:
            following = next(waiting, None)
            if following is None:
                raise UsageError(f"{key} wants a value.", hint=f"{key} VALUE")
            value = following
        name, *path = key.removesuffix("+").split(".")
        item: Json = [*value.split(",")] if key.endswith("+") else _dotted_value(value)
        for part in reversed(path):
            item = {part: item}
        if isinstance(item, dict):
            _merge(objects.setdefault(name, {}), item)
    for name, value_ in objects.items():
        kept += [name, json.dumps(value_)]
    return kept


def _dotted_value(text: str) -> Json:
    for read in (read_json, read_size):
        try:
            return read(text)
        except ValueRefused:
            continue
    return text


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and isinstance(into.get(key), list):
            into[key] += value
        else:
            into[key] = value


class _Parser(argparse.ArgumentParser):
    """argparse that raises where it would print and exit."""

    def __init__(self, known: OptionSet) -> None:
        super().__init__(
            prog="vllm serve", add_help=False, argument_default=argparse.SUPPRESS, exit_on_error=False
        )
        self.known = known

    def error(self, message: str) -> NoReturn:
        raise _ambiguous(message) or UsageError(f"{self.known.title}: {message}.")


class _Help(argparse.Action):
    """`--help` serves nothing."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> NoReturn:
        raise UsageError(f"{option_string} asks for help: there is nothing to serve in that line.")


class _Lora(argparse.Action):
    """Adapters, as vLLM's LoRAParserAction reads them: NAME=PATH or a JSON object."""

    known: OptionSet

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        items = [item for item in values or () if item not in (None, "")]
        setattr(namespace, self.dest, [_adapter(item, parser.known) for item in items])


def _adapter(text: str, known: OptionSet) -> Json:
    if "=" in text and "," not in text:
        name, path = text.split("=", 1)
        return {"name": name, "path": path}
    shape = known.configs["LoRAModulePath"]
    try:
        read = read_json(text)
    except ValueRefused as error:
        raise UsageError(f"--lora-modules: {error}.", hint="--lora-modules NAME=PATH") from None
    wanted = {name for name, field in shape.fields.items() if field.required}
    if not isinstance(read, dict) or not wanted <= set(read) <= set(shape.fields):
        raise UsageError(
            f"--lora-modules: {text!r} is not an object with {' and '.join(sorted(wanted))}.",
            hint="--lora-modules NAME=PATH",
        )
    return read


@lru_cache(maxsize=4)
def _parser(known: OptionSet) -> _Parser:
    parser = _Parser(known)
    for option in known.options:
        _declare(parser, option, known)
    return parser


def _declare(parser: _Parser, option: Option, known: OptionSet) -> None:
    names = option.positives or (option.dest,)
    where: dict[str, Any] = {"dest": option.dest} if option.flags else {}
    if option.kind is Kind.HELP:
        parser.add_argument(*names, action=_Help, nargs=0, **where)
    elif option.kind is Kind.FLAG:
        parser.add_argument(*names, action="store_true", default=argparse.SUPPRESS, **where)
    elif option.kind is Kind.SWITCH:
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, **where)
    elif option.kind is Kind.APPEND:
        parser.add_argument(*names, action="append", type=_reader(option, known), **where)
    else:
        action = _Lora if option.kind is Kind.LORA else None
        more: dict[str, Any] = {"action": action} if action else {"const": option.const}
        default = None if option.positional else argparse.SUPPRESS
        parser.add_argument(
            *names, type=_reader(option, known), nargs=option.nargs, default=default, **more, **where
        )


def _reader(option: Option, known: OptionSet) -> Any:
    def read(text: str) -> Json:
        try:
            return convert(text, option, known.configs)
        except ValueRefused as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _refused(error: argparse.ArgumentError, known: OptionSet) -> UsageError:
    """argparse's sentence in ours, with the flag in full."""
    flag = (error.argument_name or "").split("/")[0]
    option = known.by_flag.get(flag)
    name = option.name if option is not None else flag
    told = error.message
    if told.startswith("expected"):
        wanted = "one value at least" if "at least" in told else "a value"
        return UsageError(f"{name} wants {wanted}.", hint=f"{name} VALUE")
    if told.startswith("ignored explicit argument"):
        return UsageError(f"{name} takes no value.", hint=name)
    return _ambiguous(told) or UsageError(f"{name}: {told}." if name else f"{told}.")


def _ambiguous(told: str) -> UsageError | None:
    """argparse's sentence about a name that is short for several; None for another sentence."""
    found = _AMBIGUOUS.match(told)
    if found is None:
        return None
    names = found[2].split(", ")
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return UsageError(f"{found[1]} is short for several options: {some}.", hint=names[0])


def _unknown(extras: list[str], known: OptionSet) -> UsageError:
    flag = next((extra for extra in extras if extra.startswith("-")), None)
    if flag is None:
        return UsageError(
            f"{extras[0]!r} is one word too many: {known.title} serves one model.",
            hint="quote a value that has spaces in it",
        )
    name = flag.partition("=")[0]
    if name == "--task":
        return UsageError(
            f"{known.title} has no --task.", hint="--runner pooling, and --convert embed, classify or reward"
        )
    close = known.nearest(flag)
    return UsageError(
        f"{known.title} has no option {name}." + (f" Did you mean {close}?" if close else ""), hint=close
    )
