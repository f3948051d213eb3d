"""What vLLM refuses only after its parser has read the line: found before anything starts.

Sources, of the pinned version: validate_parsed_serve_args and validate_grpc_port_arg in
vllm/entrypoints/launchers/cli_args.py, ServeSubcommand.cmd in vllm/entrypoints/cli/serve.py,
vllm/entrypoints/launchers/dp_supervisor.py, EngineArgs in vllm/engine/arg_utils.py, and the bounds of
vllm/config/*.py, which the option list holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import CommandLine
from llm_atc.plan.engine import EngineName
from llm_atc.plan.options import Options, OptionSet
from llm_atc.plan.shapes import broken

_Get = Callable[[str], Any]
_RUST = "VLLM_USE_RUST_FRONTEND"
# An option that is useless without another, where only one cure is possible.
_COMPANIONS = (("enable_log_outputs", "enable_log_requests", "--enable-log-outputs wants it"),)


def check(line: CommandLine, known: OptionSet) -> CommandLine:
    """The line with the companions that its options want, each told in a note.

    Raises UsageError where the engine would refuse it after parsing, naming the flags.
    """
    _check_bounds(line.options, known)
    if line.engine is not EngineName.VLLM:
        return line
    line = _with_companions(line, known)

    def get(dest: str) -> Any:
        return line.options[dest] if dest in line.options else known.by_dest[dest].default

    for breaks, told, hint in (*_RULES, *_SUPERVISOR_RULES):
        if breaks(get):
            raise UsageError(told, hint=hint)
    _check_twice(line.options)
    if get("grpc_port") is not None and line.env.get(_RUST, "0").lower() not in ("1", "true"):
        raise UsageError(f"--grpc-port wants {_RUST}=1 in the environment.", hint=f"{_RUST}=1 vllm serve …")
    return line


def _check_bounds(options: Options, known: OptionSet) -> None:
    for dest, value in options.items():
        option = known.by_dest[dest]
        if isinstance(value, int | float) and not isinstance(value, bool):
            told = broken(value, option.bounds)
            if told is not None:
                raise UsageError(f"{option.name} {value} is not {told}.")


def _with_companions(line: CommandLine, known: OptionSet) -> CommandLine:
    for dest, companion, why in _COMPANIONS:
        if line.options.get(dest) and not line.options.get(companion):
            note = f"{known.by_dest[companion].name} is added: {why}."
            line = replace(line, options={**line.options, companion: True}, notes=(*line.notes, note))
    return line


def _balancers(get: _Get) -> int:
    several = get("data_parallel_multi_port_external_lb")
    hybrid = get("data_parallel_hybrid_lb") or (not several and get("data_parallel_start_rank") is not None)
    external = get("data_parallel_external_lb") or get("data_parallel_rank") is not None
    return sum(map(bool, (several, hybrid, external)))


def _mixed_devices(get: _Get) -> bool:
    return len({type(one) for one in get("device_ids") or ()}) > 1


_Rule = tuple[Callable[[_Get], Any], str, str | None]
_RULES: tuple[_Rule, ...] = (
    (
        lambda get: get("max_model_len") == 0,
        "--max-model-len 0 leaves no room for a token.",
        "--max-model-len 4096",
    ),
    (
        lambda get: get("enable_auto_tool_choice") and not get("tool_call_parser"),
        "--enable-auto-tool-choice wants --tool-call-parser, which depends on the model.",
        "--tool-call-parser hermes",
    ),
    (
        lambda get: get("sse_keep_alive_interval") < 0,
        "--sse-keep-alive-interval must be 0, which is off, or more.",
        "--sse-keep-alive-interval 15",
    ),
    (
        lambda get: get("enable_per_request_metrics") and get("disable_log_stats"),
        "--enable-per-request-metrics and --disable-log-stats exclude each other.",
        "leave --disable-log-stats away",
    ),
    (
        lambda get: get("grpc_port") is not None and get("grpc"),
        "--grpc and --grpc-port exclude each other.",
        "--grpc --port PORT",
    ),
    (
        lambda get: get("grpc_port") is not None and not 0 <= get("grpc_port") <= 65535,
        "--grpc-port must be between 0 and 65535.",
        None,
    ),
    (
        lambda get: get("grpc_port") and get("grpc_port") == get("port") and not get("uds"),
        "--grpc-port and --port must differ.",
        None,
    ),
    (
        lambda get: get("headless") and (get("api_server_count") or 0) > 0,
        "--headless starts no API server: --api-server-count does not go with it.",
        "leave --api-server-count away",
    ),
    (
        lambda get: get("headless") and get("data_parallel_hybrid_lb"),
        "--headless and --data-parallel-hybrid-lb exclude each other.",
        None,
    ),
    (
        lambda get: _balancers(get) > 1,
        "Only one of --data-parallel-multi-port-external-lb, --data-parallel-external-lb (or "
        "--data-parallel-rank) and --data-parallel-hybrid-lb (or --data-parallel-start-rank) can be used.",
        None,
    ),
    (
        lambda get: get("data_parallel_hybrid_lb") and get("data_parallel_size_local") is None,
        "--data-parallel-hybrid-lb wants --data-parallel-size-local.",
        "--data-parallel-size-local 2",
    ),
    (
        lambda get: len(get("device_ids") or ()) != len(set(get("device_ids") or ())),
        "--device-ids names one twice.",
        None,
    ),
    (
        lambda get: get("optimization_level") not in ("0", "1", "2", "3", "O2"),
        "-O takes a level from 0 to 3.",
        "-O2",
    ),
    (_mixed_devices, "--device-ids does not mix numbers and UUIDs.", None),
    (
        lambda get: get("node_rank") >= get("nnodes"),
        "--node-rank counts from 0: it must be less than --nnodes.",
        None,
    ),
)


def _supervised(test: Callable[[_Get], Any]) -> Callable[[_Get], Any]:
    return lambda get: get("data_parallel_multi_port_external_lb") and test(get)


_SUPERVISOR = "--data-parallel-multi-port-external-lb"
_SUPERVISOR_RULES: tuple[_Rule, ...] = (
    (_supervised(lambda get: get("grpc")), f"{_SUPERVISOR} does not go with --grpc.", None),
    (_supervised(lambda get: get("uds") is not None), f"{_SUPERVISOR} does not go with --uds.", None),
    (
        _supervised(lambda get: bool(get("ssl_keyfile")) != bool(get("ssl_certfile"))),
        "--ssl-keyfile and --ssl-certfile go together.",
        None,
    ),
    (
        _supervised(lambda get: get("api_server_count") not in (None, 1)),
        f"{_SUPERVISOR} wants --api-server-count 1.",
        "--api-server-count 1",
    ),
    (
        _supervised(lambda get: get("data_parallel_size") < 2),
        f"{_SUPERVISOR} wants --data-parallel-size of 2 or more.",
        "--data-parallel-size 2",
    ),
    (
        _supervised(lambda get: (get("data_parallel_size_local") or 0) < 2),
        f"{_SUPERVISOR} wants --data-parallel-size-local of 2 or more.",
        "--data-parallel-size-local 2",
    ),
    (
        _supervised(lambda get: get("data_parallel_size") % get("data_parallel_size_local")),
        "--data-parallel-size must be a multiple of --data-parallel-size-local.",
        None,
    ),
    (
        _supervised(
            lambda get: (
                0 <= get("data_parallel_supervisor_port") - get("port") < get("data_parallel_size_local")
            )
        ),
        "--data-parallel-supervisor-port lies among the ports of the servers that it watches.",
        None,
    ),
)
# A plain option, and the same setting inside a configuration: vLLM takes one of them.
_TWICE: Mapping[str, tuple[str, str]] = {
    "attention_backend": ("attention_config", "backend"),
    "enable_flashinfer_autotune": ("kernel_config", "enable_flashinfer_autotune"),
    "cudagraph_capture_sizes": ("compilation_config", "cudagraph_capture_sizes"),
    "max_cudagraph_capture_size": ("compilation_config", "max_cudagraph_capture_size"),
    "spec_method": ("speculative_config", "method"),
    "spec_model": ("speculative_config", "model"),
    "spec_tokens": ("speculative_config", "num_speculative_tokens"),
}


def _check_twice(options: Options) -> None:
    for dest, (config, field) in _TWICE.items():
        held = options.get(config)
        if options.get(dest) is not None and isinstance(held, dict) and held.get(field) is not None:
            flag, inner = dest.replace("_", "-"), config.replace("_", "-")
            raise UsageError(f"--{flag} and --{inner}.{field} say the same thing twice: leave one away.")
