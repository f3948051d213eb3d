"""What the benchmarks make of others' output, and that the documentation tells what they kept."""

from __future__ import annotations

import json

import pytest

from benchmarks import fit, pages, ready, relay, soak

WRK = """Running 1s test @ http://127.0.0.1:1/v1/chat/completions
  1 threads and 256 connections
  Latency Distribution
     50%    184.00us
     75%    1.20ms
     99%    1.08s 
  412 requests in 3.01s, 146.86KB read
Requests/sec:    137.04
"""  # noqa: W291  as wrk pads it
DRY_RUN = """# needs vllm==0.32.0
# secret: VLLM_API_KEY
A=1 \\
B='two words' \\
vllm serve /models/tiny --host 127.0.0.1 --port 8123 --max-model-len 64
"""


def test_times_of_wrk_are_milliseconds_whatever_their_unit() -> None:
    assert relay.told_by_wrk(WRK) == (137.04, 0.184, 1080.0, 412)


@pytest.mark.parametrize(
    "wrong", ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"]
)
def test_a_load_with_errors_is_no_measurement(wrong: str) -> None:
    with pytest.raises(relay.NoAnswers, match=r"Non-2xx|Socket errors"):
        relay.told_by_wrk(WRK + wrong)


def test_ratios_are_the_relays_rate_over_the_others() -> None:
    load = {"kind": "plain", "connections": 1, "p50": 1.0, "p99": 1.0, "cpu": 1.0}
    ours = relay.Measured(subject="relay", per_second=300.0, **load)  # type: ignore[arg-type]
    theirs = relay.Measured(subject="nginx", per_second=200.0, **load)  # type: ignore[arg-type]
    assert relay.ratios([ours, theirs]) == {"nginx": {"plain, 1": 1.5}}


def test_a_dry_run_tells_the_engines_port_and_its_command_in_one_line() -> None:
    command = "A=1 B='two words' vllm serve /models/tiny --host 127.0.0.1 --port 8123 --max-model-len 64"
    assert ready.told_by_dry_run(DRY_RUN) == (8123, command)


def test_an_estimate_is_off_by_percent_of_what_is_true() -> None:
    assert (fit.off(110, 100), fit.off(50, 100), fit.off(None, 100), fit.off(5, None)) == (
        10,
        -50,
        None,
        None,
    )


def test_memory_grows_from_the_hundred_thousandth_request_on() -> None:
    samples = [(60_000, 100), (120_000, 110), (500_000, 130), (1_000_100, 125)]
    assert soak.grown(samples) == {
        "requests": 1_000_100,
        "warm_requests": 120_000,
        "warm_kib": 110,
        "last_kib": 125,
        "grown_kib": 15,
    }


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_tells_what_the_benchmark_kept(name: str) -> None:
    text = (pages.ROOT / "docs" / pages.PAGES[name][0]).read_text()
    assert pages.told(name, text) == text
    assert json.loads((pages.RESULTS / f"{name}.json").read_text())
