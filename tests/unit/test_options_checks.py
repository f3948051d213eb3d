"""What vLLM refuses only after parsing is found before anything starts."""

from __future__ import annotations

import pytest

from llm_atc.errors import UsageError
from llm_atc.plan.engine import EngineName
from llm_atc.plan.option_checks import check
from llm_atc.plan.pasted_line import parse
from llm_atc.store.engine_options import engine_options

VLLM = engine_options(EngineName.VLLM)


def test_a_companion_that_is_certain_is_added_and_told() -> None:
    line = check(parse("vllm serve M --enable-log-outputs", engine_options), VLLM)
    assert line.options == {"enable_log_outputs": True, "enable_log_requests": True}
    assert line.notes == ("--enable-log-requests is added: --enable-log-outputs wants it.",)


def test_a_line_that_needs_nothing_is_left_as_it_is() -> None:
    line = parse("vllm serve M -tp 2 -O3 --enable-auto-tool-choice --tool-call-parser hermes", engine_options)
    assert check(line, VLLM) is line


SUPERVISED = "--data-parallel-multi-port-external-lb -dp 4 -dpl 2"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--enable-auto-tool-choice", "wants --tool-call-parser"),
        ("--max-model-len 0", "leaves no room for a token"),
        ("--sse-keep-alive-interval -1", "--sse-keep-alive-interval"),
        ("--enable-per-request-metrics --disable-log-stats", "exclude each other"),
        ("--grpc --grpc-port 5000", "exclude each other"),
        ("--grpc-port 70000", "between 0 and 65535"),
        ("--grpc-port 8000", "must differ"),
        ("--grpc-port 5000", "wants VLLM_USE_RUST_FRONTEND=1"),
        ("--headless --api-server-count 2", "starts no API server"),
        ("--headless --data-parallel-hybrid-lb -dpl 2", "exclude each other"),
        ("--data-parallel-external-lb --data-parallel-hybrid-lb", "Only one of"),
        ("--data-parallel-hybrid-lb", "wants --data-parallel-size-local"),
        ("--device-ids 0,0", "names one twice"),
        ("--device-ids 0,GPU-x", "does not mix"),
        ("--node-rank 2 --nnodes 2", "--node-rank counts from 0"),
        ("-O5", "level from 0 to 3"),
        ("--tensor-parallel-size 0", "--tensor-parallel-size 0 is not at least 1"),
        ("--gpu-memory-utilization 1.5", "--gpu-memory-utilization 1.5 is not at most 1"),
        ("--max-num-seqs 0", "is not at least 1"),
        ("--attention-backend FLASHINFER --attention-config.backend TRITON_ATTN", "twice"),
        ("--cudagraph-capture-sizes 1 2 --compilation-config.cudagraph_capture_sizes [1]", "twice"),
        ("--spec-method ngram --speculative-config.method ngram", "twice"),
        (f"{SUPERVISED} --grpc", "--grpc"),
        (f"{SUPERVISED} --uds /x", "--uds"),
        (f"{SUPERVISED} --ssl-keyfile k", "go together"),
        (f"{SUPERVISED} -asc 2", "--api-server-count 1"),
        ("--data-parallel-multi-port-external-lb", "--data-parallel-size of 2 or more"),
        ("--data-parallel-multi-port-external-lb -dp 4", "--data-parallel-size-local of 2 or more"),
        ("--data-parallel-multi-port-external-lb -dp 5 -dpl 2", "a multiple of"),
        (f"{SUPERVISED} --port 9255", "--data-parallel-supervisor-port"),
    ],
)
def test_contradictions_and_values_out_of_bounds_are_refused(options: str, told: str) -> None:
    line = parse(f"vllm serve M {options}", engine_options)
    with pytest.raises(UsageError, match=told):
        check(line, VLLM)
