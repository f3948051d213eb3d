"""A machine ends by itself, with nobody left who could end it: no command, and no SkyPilot API server.

The real llama-server on the simulated region; one deployment goes through its whole life, so these tests run
in the order in which they stand.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.make_tiny_gguf import make as make_gguf
from tests.cloud.client import SimulatedRegion
from tests.e2e.left_alone import leave, stopped, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NAME = "frugal"
MODEL = "llm-atc/frugal"
IDLE_MINUTES, AT_MOST_MORE = 2, 3
STREAM_SECONDS = 180
SERVE = (
    *("llm-atc", "serve", "--name", MODEL, "--source", "s3://frugal/tiny", "--accelerator", "L4:1"),
    *("-c", NAME, "--cloud", "aws", "--region", "us-east-1", "--idle-minutes", str(IDLE_MINUTES)),
    *("--ttl", "6h", "--budget", "50", "--", "--context-shift", "--ctx-size", "512"),
)


@pytest.fixture(scope="module")
def landed(
    region: SimulatedRegion, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """What `serve` said."""
    folder = tmp_path_factory.mktemp("gguf")
    make_gguf(tiny_model, folder / "tiny.gguf")
    region.s3().create_bucket(Bucket="frugal")
    region.s3().upload_file(str(folder / "tiny.gguf"), "frugal", "tiny/tiny.gguf")
    served = region.run(*SERVE, timeout=600)
    yield served.stderr
    region.run("llm-atc", "down", "--all", "--yes", check=False)


def endpoint(region: SimulatedRegion) -> dict[str, str]:
    facts: dict[str, str] = json.loads(region.run("llm-atc", "endpoint", NAME, "--json").stdout)
    return facts


def status(region: SimulatedRegion) -> dict[str, Any]:
    (found,) = json.loads(region.run("llm-atc", "status", NAME, "--json").stdout)
    assert isinstance(found, dict)
    return found


def request(facts: dict[str, str], **fields: object) -> urllib.request.Request:
    body = json.dumps({"model": MODEL, "prompt": "Hello", "max_tokens": 4, **fields}).encode()
    headers = {"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"}
    return urllib.request.Request(f"{facts['base_url']}/completions", body, headers)


def answers(facts: dict[str, str]) -> bool:
    try:
        with urllib.request.urlopen(request(facts), timeout=30) as answer:
            return bool(json.load(answer)["choices"])
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def in_use(facts: dict[str, str]) -> Iterator[None]:
    """Somebody asks every few seconds, so that slow commands beside it take as long as they like."""
    done = threading.Event()

    def ask() -> None:
        while not done.wait(5):
            answers(facts)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()


def test_who_leaves_is_told_what_goes_on_and_when_it_ends(region: SimulatedRegion, landed: str) -> None:
    assert (
        "It stops by itself after 2 minutes without a request, or after 6h, or when $50.00 are spent."
        in landed
    )


def test_the_relay_stands_before_llama_server_too(region: SimulatedRegion, landed: str) -> None:
    facts = endpoint(region)
    assert answers(facts)
    assert not answers(facts | {"api_key": "sk-a-wrong-key"})
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{facts['endpoint']}/props", timeout=10)


def test_status_tells_idle_time_time_left_and_money(region: SimulatedRegion, landed: str) -> None:
    with in_use(endpoint(region)):
        told = status(region)
    assert told["state"] == "ready"
    assert 0 <= told["idle_seconds"] < 60
    assert 60 < told["seconds_left"] <= IDLE_MINUTES * 60
    assert told["daily"] == pytest.approx(24 * told["hourly"])
    assert 0 < told["spent"] < 1


def test_more_time_can_be_given_while_it_runs(region: SimulatedRegion, landed: str) -> None:
    with in_use(endpoint(region)):
        region.run("llm-atc", "extend", NAME, "--ttl", "2h", "--budget", "10")
    kept = region.ssh(NAME, "cat ~/.llm-atc/keeper/extension.json").stdout
    assert json.loads(kept) == {"ttl": 8 * 3600, "budget": 60}


def test_a_long_stream_is_not_cut_and_the_machine_stops_by_itself_after_it(
    region: SimulatedRegion, landed: str
) -> None:
    facts = endpoint(region)
    endless = request(facts, stream=True, max_tokens=-1, ignore_eos=True)
    with urllib.request.urlopen(endless, timeout=60) as stream:
        leave(region)
        began, pieces = time.monotonic(), 0
        while time.monotonic() - began < STREAM_SECONDS:
            pieces += stream.readline().startswith(b"data: ")
            time.sleep(0.1)  # so that the engine has to wait, and is not done before
        assert pieces > 500
        assert [machine.state for machine in region.instances()] == ["running"]
    took = wait_until(lambda: stopped(region), (IDLE_MINUTES + AT_MOST_MORE) * 60)
    assert took > IDLE_MINUTES * 60
    (machine,) = region.instances()
    assert f"stop {machine.id} by skypilot-v1/{machine.id}" in region.log_path.read_text()
    assert status(region)["state"] == "stopped"
    gone = region.run("llm-atc", "endpoint", NAME, check=False)
    assert "it is stopped" in gone.stderr
    logs = region.run("llm-atc", "logs", NAME, check=False)
    assert (logs.returncode, "is stopped" in logs.stderr) == (1, True)
    (region.home / "before.json").write_text(json.dumps(facts))


def test_start_brings_it_back_with_the_same_key_at_a_new_address(
    region: SimulatedRegion, landed: str
) -> None:
    before = json.loads((region.home / "before.json").read_text())
    region.run("llm-atc", "start", NAME, timeout=600)
    after = endpoint(region)
    assert after["api_key"] == before["api_key"]
    assert after["endpoint"] != before["endpoint"]
    assert answers(after)


@pytest.mark.parametrize("program", ["llama-server", "llm_atc.relay"])
def test_what_is_killed_on_the_machine_is_started_again(
    region: SimulatedRegion, landed: str, program: str
) -> None:
    facts = endpoint(region)
    assert answers(facts)
    find = f"pgrep -f '^[^ ]*(python[^ ]* -m )?[^ ]*{program}( |$)' | head -n 1"
    pid = region.ssh(NAME, find).stdout.strip()
    region.ssh(NAME, f"kill -KILL {pid}")
    wait_until(lambda: answers(facts), 60)
    assert region.ssh(NAME, find).stdout.strip() not in ("", pid)


def test_an_engine_that_cannot_start_any_more_ends_the_machine_with_nobody_there(
    region: SimulatedRegion, landed: str
) -> None:
    spoil = "f=$(ls -d ~/.llm-atc/checkpoints/*/*.gguf); sudo truncate -s 100 $f; pkill -KILL -x llama-server"
    region.ssh(NAME, spoil)
    leave(region)
    wait_until(lambda: stopped(region), 240)
    assert status(region)["state"] == "stopped"


def test_down_ends_with_a_receipt(region: SimulatedRegion, landed: str) -> None:
    done = region.run("llm-atc", "down", NAME, "--yes")
    assert "frugal is gone, and so are its keys." in done.stderr
    assert region.instances() == ()
