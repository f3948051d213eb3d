"""What vLLM's own parser makes of lines: run by vLLM's Python, JSON in and out, one import for all of them.

In: a list of {"program", "words", "model", "options"}, where the last two are llm-atc's reading, or null
where it refuses the line. Out, for each: {"error"} where vLLM refuses, else {"differs", "late"}: the options
whose values are not the same, and what vLLM's own check after parsing says.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import inspect
import io
import json
import sys
from pathlib import Path
from typing import Any

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.openai.models.protocol import LoRAModulePath
from vllm.utils.argparse_utils import FlexibleArgumentParser

ABSENT = object()
# vLLM makes these up where they are not given.
MADE_UP = {"engine_id"}

api_parser = make_arg_parser(FlexibleArgumentParser(prog="api_server"))
serve_parser = FlexibleArgumentParser(prog="vllm")
served = ServeSubcommand().subparser_init(serve_parser.add_subparsers(required=False, dest="subparser"))
actions = {action.dest: action for action in api_parser._actions}


def parsed(line: dict[str, Any]) -> argparse.Namespace:
    """The namespace, as the program itself would have it. Raises what the program would raise."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        if line["program"] == "vllm serve":
            found = serve_parser.parse_args(["serve", *line["words"]])
            if found.model_tag is not None:
                found.model = found.model_tag
            return found
        return api_parser.parse_args(list(line["words"]))


def dataclass_of(converter: Any) -> Any:
    while converter is not None and getattr(converter, "__name__", "") != "parse_dataclass":
        held = inspect.getclosurevars(converter).nonlocals if inspect.isfunction(converter) else {}
        converter = held.get("return_type")
    return converter


def value_of(dest: str, value: Any) -> Any:
    """llm-atc's value as vLLM would hold it."""
    if dest == "lora_modules":
        return [LoRAModulePath(**one) for one in value]
    if value is not None and dataclass_of(actions[dest].type) is not None:
        return actions[dest].type(json.dumps(value))
    return value


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, enum.Enum):
        return ours in (theirs, theirs.name, theirs.value)
    if hasattr(theirs, "__dataclass_fields__"):
        names = set(theirs.__dataclass_fields__) - MADE_UP
        return type(ours) is type(theirs) and all(
            same(getattr(ours, name, ABSENT), getattr(theirs, name, ABSENT)) for name in names
        )
    return type(ours) is type(theirs) and ours == theirs


def fields_differ(ours: Any, theirs: Any, path: str) -> list[str]:
    """Where llm-atc's object says another thing than the field that vLLM made of it."""
    if isinstance(ours, dict) and hasattr(theirs, "__dataclass_fields__"):
        return [
            told
            for name, value in ours.items()
            for told in fields_differ(value, getattr(theirs, name, ABSENT), f"{path}.{name}")
        ]
    if isinstance(theirs, enum.Enum) or ours == "AUTO" or theirs is None or isinstance(theirs, set | tuple):
        return []
    if hasattr(theirs, "__dataclass_fields__") or isinstance(theirs, dict | list):
        return []  # a shorthand of vLLM's, or compared already
    if isinstance(theirs, Path):
        return [] if Path(ours) == theirs else [f"{path}: {ours}, not {theirs}"]
    return [] if type(ours) is type(theirs) and ours == theirs else [f"{path}: {ours!r}, not {theirs!r}"]


def compared(line: dict[str, Any]) -> dict[str, Any]:
    try:
        found = parsed(line)
    except SystemExit as error:
        return {"error": f"exit {error.code}"}
    except Exception as error:  # noqa: BLE001 - whatever ends the program is a refusal
        return {"error": repr(error)}
    late = None
    try:
        validate_parsed_serve_args(found)
    except Exception as error:  # noqa: BLE001 - as above
        late = repr(error)
    if line["options"] is None:
        return {"differs": ["refused"], "late": late}
    theirs = vars(found)
    ours = vars(parsed({"program": line["program"], "words": []})) | {"model_tag": theirs["model_tag"]}
    if line["model"] is not None:
        ours["model"] = line["model"]
    ours |= {dest: value_of(dest, value) for dest, value in line["options"].items()}
    differs = [
        f"{dest}: {ours.get(dest, ABSENT)!r}, not {theirs[dest]!r}"
        for dest in theirs
        if dest != "dispatch_function" and not same(ours.get(dest, ABSENT), theirs[dest])
    ]
    for dest, value in line["options"].items():
        differs += fields_differ(value, theirs[dest], dest)
    return {"differs": differs, "late": late}


if __name__ == "__main__":
    answers = [compared(line) for line in json.load(sys.stdin)]
    sys.stdout.write("\n@@" + json.dumps(answers))
