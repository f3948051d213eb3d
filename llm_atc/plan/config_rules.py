"""What fields of one vLLM configuration rule out together, checked while the line is read.

Source: the validators and `__post_init__` of vllm/config/*.py of the pinned version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from llm_atc.plan.shapes import Shape, ShapeError

_Get = Callable[[str], Any]
_BASES = ("all", "none")
# The profiler's options for Proton, with their defaults.
_PROTON: Mapping[str, Any] = {
    "proton_profiler_dir": "",
    "proton_context": "shadow",
    "proton_data": "tree",
    "proton_backend": None,
    "proton_mode": None,
    "proton_hook": None,
    "proton_output_format": None,
    "proton_graph_attribution": False,
}
_FORMATS = {"trace": ("chrome_trace",), "tree": ("hatchet", "hatchet_msgpack")}


def check_config(shape: Shape, value: Any) -> None:
    """Raise ShapeError where the fields of this configuration contradict each other."""
    if not isinstance(value, dict):
        return

    def get(name: str) -> Any:
        return value.get(name, shape.fields[name].default)

    for breaks, told in _RULES.get(shape.name, ()):
        if breaks(get):
            raise ShapeError(told)


def _no_operation(operation: str) -> bool:
    return operation not in _BASES and (len(operation) < 2 or operation[0] not in "+-")


def _switched(get: _Get, sign: str) -> set[str]:
    return {operation[1:] for operation in get("custom_ops") if operation.startswith(sign)}


def _repeats(values: list[Any] | None) -> bool:
    return values is not None and len(values) != len(set(values))


_Rule = tuple[Callable[[_Get], Any], str]
_RULES: Mapping[str, tuple[_Rule, ...]] = {
    "CompilationConfig": (
        (
            lambda get: any(map(_no_operation, get("custom_ops"))),
            "custom_ops are 'all', 'none', '+NAME' and '-NAME'",
        ),
        (
            lambda get: len([op for op in get("custom_ops") if op in _BASES]) > 1,
            "custom_ops name 'all' or 'none' once",
        ),
        (
            lambda get: _switched(get, "+") & _switched(get, "-"),
            "custom_ops switch the same operation on and off",
        ),
        (
            lambda get: (
                get("mode") in (3, "VLLM_COMPILE") and get("backend") not in ("", "eager", "inductor")
            ),
            "backend is eager or inductor with the mode VLLM_COMPILE",
        ),
        (
            lambda get: any(size <= 0 for size in get("decoder_replay_cudagraph_capture_sizes")),
            "decoder_replay_cudagraph_capture_sizes must be more than 0",
        ),
        (
            lambda get: any(size <= 0 for size in get("encoder_cudagraph_token_budgets")),
            "encoder_cudagraph_token_budgets must be more than 0",
        ),
        (
            lambda get: (
                get("cudagraph_mm_encoder") and get("encoder_cudagraph_max_vision_items_per_batch") < 0
            ),
            "encoder_cudagraph_max_vision_items_per_batch must be 0 or more",
        ),
        (
            lambda get: (
                get("cudagraph_mm_encoder") and (get("encoder_cudagraph_max_frames_per_batch") or 0) < 0
            ),
            "encoder_cudagraph_max_frames_per_batch must be 0 or more",
        ),
    ),
    "PoolerConfig": (
        (lambda get: get("logit_sigma") == 0, "logit_sigma cannot be 0"),
        (
            lambda get: get("pooling_type") and get("seq_pooling_type") is not None,
            "pooling_type and seq_pooling_type exclude each other",
        ),
        (
            lambda get: get("pooling_type") and get("tok_pooling_type") is not None,
            "pooling_type and tok_pooling_type exclude each other",
        ),
    ),
    "KVTransferConfig": (
        (
            lambda get: get("kv_connector") is not None and get("kv_role") is None,
            "kv_connector wants kv_role: kv_producer, kv_consumer or kv_both",
        ),
    ),
    "ECTransferConfig": (
        (
            lambda get: get("ec_connector") is not None and get("ec_role") is None,
            "ec_connector wants ec_role: ec_producer, ec_consumer or ec_both",
        ),
    ),
    "EncoderCacheManagerConfig": (
        (
            lambda get: get("encoder_cache_manager_cls") is None and get("manager_config"),
            "manager_config wants encoder_cache_manager_cls",
        ),
    ),
    "EngramConfig": (
        (
            lambda get: get("dp_shared_memory") and not get("cpu_offload"),
            "dp_shared_memory wants cpu_offload",
        ),
        (
            lambda get: get("use_thp") and (not get("cpu_offload") or get("dp_shared_memory")),
            "use_thp wants cpu_offload, and no dp_shared_memory",
        ),
    ),
    "EPLBConfig": (
        (
            lambda get: get("use_async") and get("policy") != "default",
            "use_async goes with the default policy only",
        ),
        (
            lambda get: get("use_async") and get("communicator") in ("torch_nccl", "pynccl"),
            "use_async does not go with the communicators torch_nccl and pynccl",
        ),
        (
            lambda get: get("log_balancedness") and get("log_balancedness_interval") <= 0,
            "log_balancedness_interval must be more than 0",
        ),
    ),
    "StructuredOutputsConfig": (
        (
            lambda get: get("disable_any_whitespace") and get("backend") not in ("xgrammar", "guidance"),
            "disable_any_whitespace goes with the backends xgrammar and guidance only",
        ),
        (
            lambda get: get("disable_additional_properties") and get("backend") != "guidance",
            "disable_additional_properties goes with the backend guidance only",
        ),
    ),
    "ProfilerConfig": (
        (
            lambda get: get("torch_profiler_activities") is not None and get("profiler") != "torch",
            "torch_profiler_activities goes with the profiler torch only",
        ),
        (
            lambda get: _repeats(get("torch_profiler_activities")),
            "torch_profiler_activities names one twice",
        ),
        (
            lambda get: get("torch_profiler_dir") and get("profiler") != "torch",
            "torch_profiler_dir goes with the profiler torch only",
        ),
        (
            lambda get: get("profiler") == "torch" and not get("torch_profiler_dir"),
            "the profiler torch wants torch_profiler_dir",
        ),
        (
            lambda get: get("capture_torch_profiler") and get("profiler") != "torch",
            "capture_torch_profiler goes with the profiler torch only",
        ),
        (
            lambda get: get("profiler") != "proton" and any(get(n) != d for n, d in _PROTON.items()),
            "proton options go with the profiler proton only",
        ),
        (
            lambda get: get("profiler") == "proton" and not get("proton_profiler_dir"),
            "the profiler proton wants proton_profiler_dir",
        ),
        (
            lambda get: re.match(r"[^:]{2,}://", get("proton_profiler_dir")),
            "proton_profiler_dir is a directory on the machine",
        ),
        (
            lambda get: get("proton_graph_attribution") and get("proton_data") != "tree",
            "proton_graph_attribution wants proton_data tree",
        ),
        (
            lambda get: (
                get("proton_graph_attribution")
                and (get("proton_mode") or "").split(":")[0].lower() == "periodic_flushing"
            ),
            "proton_graph_attribution does not go with periodic_flushing",
        ),
        (
            lambda get: get("proton_output_format") not in (None, *_FORMATS[get("proton_data")]),
            "proton_output_format does not go with proton_data",
        ),
    ),
    "QuantizationConfigArgs": (
        (
            lambda get: get("targets") is not None and (get("linear") or get("moe")) is not None,
            "targets excludes linear and moe",
        ),
    ),
}
