"""Print vLLM's options as JSON: run by the engine's own Python, with vLLM and the standard library alone.

Every action of `vllm serve`'s parser, the fields of the configurations that it takes as JSON, and the bounds
that the configurations put on plain options.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

HELP = "--help"
# The module of vLLM's parser moves between versions.
PARSERS = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)
BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
KINDS = {
    "HelpAction": "help",
    "StoreTrueAction": "flag",
    "BooleanOptionalAction": "switch",
    "AppendAction": "append",
    "LoRAParserAction": "lora",
}


def plain(value: Any) -> Any:
    """The value where JSON can hold it, None where it cannot."""
    if isinstance(value, enum.Enum):
        return value.name
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return None
    return value


# --- the types of plain options ---------------------------------------------------------------------------


def leaf_of(kind: Any) -> tuple[Any, bool]:
    """What converts the text in the end, and whether '' and 'None' mean none."""
    optional = False
    while inspect.isfunction(kind) and "<locals>" in kind.__qualname__:
        held = inspect.getclosurevars(kind).nonlocals
        if "return_type" not in held:
            break
        optional = optional or kind.__name__ == "_optional_type"
        kind = held["return_type"]
    return kind, optional


def named(leaf: Any) -> str:
    """The name under which llm-atc knows a converter; ValueError for one that it does not know."""
    known = {
        None: "text",
        str: "text",
        int: "int",
        float: "float",
        json.loads: "json",
        "human_readable_int": "size",
        "human_readable_int_or_auto": "size-or-auto",
        "union_dict_and_str": "json-or-text",
        "parse_dataclass": "config",
    }
    name = known.get(leaf) or known.get(getattr(leaf, "__name__", None))
    if name is not None:
        return name
    if leaf("A-b") == "a_b":
        return "lower"
    if leaf("7,GPU-x") == [7, "GPU-x"]:
        return "device-ids"
    raise ValueError(f"an unknown converter: {leaf}")


# --- the fields of configurations that come as JSON --------------------------------------------------------


def names_of(module: str, kind: str, *more: str) -> dict[str, Any]:
    members = getattr(importlib.import_module(module), kind).__members__
    return {"is": "name", "values": sorted({*members, *more})}


def quantizations(field: str | None) -> dict[str, Any]:
    module = importlib.import_module("vllm.config.quantization")
    keys = set(module.QUANT_KEY_NAMES)
    if field is not None:
        keys |= {name for name, spec in module._ONLINE_SHORTHANDS.items() if getattr(spec, field) is not None}
    return {"is": "literal", "values": sorted(keys)}


def targets() -> dict[str, Any]:
    module = importlib.import_module("vllm.config.quantization")
    return {"is": "dict", "values": {"is": "literal", "values": sorted(module._ONLINE_SHORTHANDS)}}


def kinds_of_cache() -> list[str]:
    module = importlib.import_module("vllm.v1.kv_cache_interface")
    return sorted(kind.value for kind in module.KVCacheSpecKind)


ATTENTION = "vllm.v1.attention.backends.registry"
PREFILL = "vllm.v1.attention.backends.mla.prefill.registry"


def either(*specs: dict[str, Any]) -> dict[str, Any]:
    return {"is": "union", "of": list(specs)}


# What validators of vLLM that run before a field's own type do, in words that the loader understands.
BEFORE: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "validate_mode_before": lambda inner, field: either(
        names_of("vllm.config.compilation", "CompilationMode"), inner
    ),
    "validate_cudagraph_mode_before": lambda inner, field: either(
        names_of("vllm.config.compilation", "CUDAGraphMode"), inner
    ),
    "validate_backend_before": lambda inner, field: either(
        names_of(ATTENTION, "AttentionBackendEnum", "AUTO"), {"is": "null"}
    ),
    "validate_mla_prefill_backend_before": lambda inner, field: either(
        names_of(PREFILL, "MLAPrefillBackendEnum"), {"is": "null"}
    ),
    "validate_backend_per_kind_before": lambda inner, field: {
        "is": "dict",
        "keys": {"is": "literal", "values": kinds_of_cache()},
        "values": names_of(ATTENTION, "AttentionBackendEnum"),
    },
    "validate_pass_config_before": lambda inner, field: inner,
    "_to_list_str": lambda inner, field: {"is": "words"},
    "_normalize_moe_backend": lambda inner, field: {"is": "lower", "of": inner},
    "_normalize_linear_backend": lambda inner, field: {"is": "lower", "of": inner},
    "_normalize_sparse_indexer_topk_backend": lambda inner, field: {"is": "lower", "of": inner},
    "_coerce_spec": lambda inner, field: either(quantizations(field), inner),
    "_validate_targets": lambda inner, field: either(targets(), {"is": "null"}),
    "_coerce_quant_key": lambda inner, field: either(quantizations(None), {"is": "null"}),
    "reject_removed_parameters": lambda inner, field: inner,
}


class Fields:
    """From pydantic's core schema to the few kinds of type that the loader knows."""

    def __init__(self, schema: Any) -> None:
        self.shared: dict[str, Any] = {}
        if schema["type"] == "definitions":
            self.shared = {one["ref"]: one for one in schema["definitions"]}
            schema = schema["schema"]
        self.schema = schema

    def spec(self, schema: dict[str, Any] | None = None, field: str = "") -> dict[str, Any]:
        schema = self.schema if schema is None else schema
        kind = schema["type"]
        read = getattr(self, "_" + kind.replace("-", "_"), None)
        if read is not None:
            found: dict[str, Any] = read(schema, field)
            return found
        if kind in ("str", "int", "float", "bool", "any"):
            return {"is": kind, **{bound: schema[bound] for bound in BOUNDS if bound in schema}}
        if kind in ("list", "set", "tuple", "frozenset"):
            return self._sequence(schema, field)
        if kind in ("default", "function-after", "model", "json", "chain"):
            return self.spec(schema["schema"], field)
        return {"is": "never"} if kind in ("callable", "is-instance", "is-subclass") else {"is": "any"}

    def _definition_ref(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return self.spec(self.shared[schema["schema_ref"]], field)

    def _none(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return {"is": "null"}

    def _nullable(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return either(self.spec(schema["schema"], field), {"is": "null"})

    def _union(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        choices = [one[0] if isinstance(one, tuple) else one for one in schema["choices"]]
        return either(*(self.spec(one, field) for one in choices))

    def _literal(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return {"is": "literal", "values": sorted(schema["expected"], key=str)}

    def _enum(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return {"is": "enum", "values": [one.value for one in schema["members"]]}

    def _sequence(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        items = schema.get("items_schema", {"type": "any"})
        if isinstance(items, list):
            several = schema.get("variadic_item_index") is not None or len(items) == 1
            items = items[0] if several else {"type": "any"}
        sizes = {bound: schema[bound] for bound in BOUNDS if bound in schema}
        return {"is": "list", "items": self.spec(items, field), **sizes}

    def _dict(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        values = self.spec(schema.get("values_schema", {"type": "any"}), field)
        sizes = {bound: schema[bound] for bound in BOUNDS if bound in schema}
        found = {"is": "dict", "values": values, **sizes}
        keys = self.spec(schema.get("keys_schema", {"type": "any"}), field)
        return found if keys["is"] in ("any", "str") else {**found, "keys": keys}

    def _function_before(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        inner = self.spec(schema["schema"], field)
        known = BEFORE.get(schema["function"]["function"].__name__)
        return {"is": "any"} if known is None else known(inner, field)

    def _function_plain(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        known = BEFORE.get(schema["function"]["function"].__name__)
        return {"is": "any"} if known is None else known({"is": "any"}, field)

    def _function_wrap(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        inner = self.spec(schema["schema"], field)
        skips_none = schema["function"]["function"].__name__ == "_skip_none_validation"
        return either(inner, {"is": "null"}) if skips_none else inner

    def _lax_or_strict(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return self.spec(schema["lax_schema"], field)

    def _json_or_python(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        return self.spec(schema["json_schema"], field)

    def _dataclass(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        arguments = schema["schema"]
        while "fields" not in arguments:
            arguments = arguments["schema"]
        fields = {}
        for one in arguments["fields"]:
            if one.get("init", True) is not False:
                fields[one["name"]] = self._field(one)
        extra = schema.get("config", {}).get("extra_fields_behavior", "ignore")
        return {"is": "object", "name": schema["cls"].__name__, "extra": extra, "fields": fields}

    def _field(self, one: dict[str, Any]) -> dict[str, Any]:
        schema, found = one["schema"], self.spec(one["schema"], one["name"])
        while schema["type"].startswith("function-"):
            schema = schema.get("schema", {"type": "any"})
        if schema["type"] != "default":
            return {**found, "required": True}
        default = plain(schema.get("default"))
        if default is None and "default_factory" in schema and not schema.get("default_factory_takes_data"):
            made = schema["default_factory"]()
            default = None if dataclasses.is_dataclass(made) else plain(made)
        return {**found, "default": default}

    def _model_fields(self, schema: dict[str, Any], field: str) -> dict[str, Any]:
        fields = {name: self.spec(one["schema"], name) for name, one in schema["fields"].items()}
        extra = schema.get("extra_behavior", "ignore")
        return {"is": "object", "name": field, "extra": extra, "fields": fields}


def config_spec(cls: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    return Fields(TypeAdapter(cls).core_schema).spec()


# --- the whole --------------------------------------------------------------------------------------------


def bounds_of(classes: list[Any]) -> dict[str, dict[str, Any]]:
    """The bounds that configurations put on fields that are numbers, by the field's name."""
    found: dict[str, dict[str, Any]] = {}
    for cls in classes:
        for field in dataclasses.fields(cls):
            limits = {
                bound: limit
                for item in getattr(field.default, "metadata", ())
                for bound in ("ge", "gt", "le", "lt")
                if (limit := getattr(item, bound, None)) is not None
            }
            if limits:
                found.setdefault(field.name, limits)
    return found


def option(action: argparse.Action, group: str | None, bounds: dict[str, Any]) -> dict[str, Any]:
    leaf, optional = leaf_of(action.type)
    kind = KINDS.get(type(action).__name__.lstrip("_"), "value")
    longs = [flag for flag in action.option_strings if flag.startswith("--")]
    switch = kind == "switch"
    positives = [flag for flag in longs if not (switch and flag.startswith("--no-"))]
    name = positives[0] if positives else action.dest
    help_text = (action.help or "").split("\n\n")[0].replace("%%", "%")
    return {
        "name": name,
        "flags": list(action.option_strings),
        "dest": action.dest,
        "kind": kind,
        "type": "flag" if action.nargs == 0 else named(leaf),
        "optional": optional,
        "nargs": None if action.nargs == 0 else action.nargs,
        "const": plain(action.const) if kind == "value" else None,
        "choices": [plain(one) for one in action.choices] if action.choices else None,
        "default": plain(action.default) if action.default is not argparse.SUPPRESS else None,
        "bounds": bounds,
        "config": leaf.__defaults__[0].__name__ if named(leaf) == "config" else None,
        "group": group,
        "deprecated": bool(getattr(action, "deprecated", False))
        or "deprecated" in (action.help or "").lower(),
        "help": " ".join(help_text.split()),
    }


def dump() -> dict[str, Any]:
    """Everything, as one value."""
    sys.argv.append(HELP)  # vLLM reads its help texts only when they are asked for
    vllm = importlib.import_module("vllm")
    arg_utils: Any = importlib.import_module("vllm.engine.arg_utils")
    argparse_utils = importlib.import_module("vllm.utils.argparse_utils")

    classes: list[Any] = []
    get_kwargs = arg_utils.get_kwargs

    def recording(cls: Any) -> Any:
        classes.append(cls)
        return get_kwargs(cls)

    arg_utils.get_kwargs = recording
    make = next(found for found in map(parser_of, PARSERS) if found is not None)
    parser = make(argparse_utils.FlexibleArgumentParser(prog="vllm serve"))
    groups = {id(one): group.title for group in parser._action_groups for one in group._group_actions}
    bounds = bounds_of(classes)
    options, configs = [], {}
    for action in parser._actions:
        options.append(option(action, groups.get(id(action)), bounds.get(action.dest, {})))
        leaf, _ = leaf_of(action.type)
        if named(leaf) == "config":
            configs[leaf.__defaults__[0].__name__] = config_spec(leaf.__defaults__[0])
    adapter = importlib.import_module("vllm.entrypoints.openai.models.protocol").LoRAModulePath
    configs["LoRAModulePath"] = {
        "is": "object",
        "name": "LoRAModulePath",
        "extra": "forbid",
        "fields": {
            field.name: {"is": "any", "required": True}
            if field.default is dataclasses.MISSING
            else {"is": "any", "default": field.default}
            for field in dataclasses.fields(adapter)
        },
    }
    return {
        "engine": "vllm",
        "version": vllm.__version__.partition("+")[0],
        "options": options,
        "configs": configs,
    }


def parser_of(module: str) -> Any:
    try:
        return importlib.import_module(module).make_arg_parser
    except (ImportError, AttributeError):
        return None


if __name__ == "__main__":
    json.dump(dump(), sys.stdout, indent=1)
