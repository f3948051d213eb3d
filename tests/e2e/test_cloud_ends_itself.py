"""A machine ends by itself, with nobody left who could end it: no command, and no SkyPilot API server.

The real llama-server on the simulated region. Four deployments come to their ends side by side, for each end
takes minutes of waiting; these tests run in the order in which they stand.

    frugal     is used for long, then no more; is started again; loses engine and relay
    rebooted   is booted anew by its cloud; is started again; loses its model's file
    copying    was left while files were copied to it
    early      was left before SkyPilot's agent ran on it
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.make_tiny_gguf import make as make_gguf
from tests.cloud.client import SimulatedRegion
from tests.e2e.left_alone import is_in, leave, leave_a_launch, machine_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NAME, REBOOTED, COPYING, EARLY = "frugal", "rebooted", "copying", "early"
MODEL, KEY = "llm-atc/frugal", "sk-frugal-0123456789abcdef0123456789"
IDLE_MINUTES, AT_MOST_MORE = 1, 3
STREAM_SECONDS = 120


def serve(name: str, *options: str) -> tuple[str, ...]:
    return (
        *("llm-atc", "serve", "--name", MODEL, "--source", "s3://frugal/tiny", "--accelerator", "L4:1"),
        *("-c", name, "--cloud", "aws", "--region", "us-east-1", *options),
        *("--", "--context-shift", "--ctx-size", "512"),
    )


SERVE = serve(
    *(NAME, "--idle-minutes", str(IDLE_MINUTES), "--ttl", "6h", "--budget", "50", "--api-key", "FRUGAL_KEY")
)


@dataclass
class Landed:
    """What `serve` said, where the model answers, and what keeps it in use until it is closed."""

    said: str
    facts: dict[str, str]
    use: contextlib.ExitStack


@pytest.fixture(scope="module")
def landed(
    region: SimulatedRegion, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Landed]:
    """Two deployments, side by side."""
    folder = tmp_path_factory.mktemp("gguf")
    make_gguf(tiny_model, folder / "tiny.gguf")
    region.s3().create_bucket(Bucket="frugal")
    region.s3().upload_file(str(folder / "tiny.gguf"), "frugal", "tiny/tiny.gguf")
    with contextlib.ExitStack() as use, ThreadPoolExecutor() as pool:
        use.enter_context(in_use(region))
        other = pool.submit(serve_after_the_first, region)
        said = region.run(*SERVE, timeout=600, env={"FRUGAL_KEY": KEY}).stderr
        other.result()
        yield Landed(said, endpoint(region), use)
    region.run("llm-atc", "down", "--all", "--yes", check=False)


def serve_after_the_first(region: SimulatedRegion) -> None:
    """An account's first two launches, side by side, both make SkyPilot's role, and one then fails."""
    wait_until(lambda: is_in(region, NAME, "running"), 300)
    region.run(*serve(REBOOTED, "--copy-minutes", "3"), timeout=600)


def endpoint(region: SimulatedRegion) -> dict[str, str]:
    facts: dict[str, str] = json.loads(region.run("llm-atc", "endpoint", NAME, "--json").stdout)
    return facts


def status(region: SimulatedRegion, name: str = NAME) -> dict[str, Any]:
    (found,) = json.loads(region.run("llm-atc", "status", name, "--json").stdout)
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
def in_use(region: SimulatedRegion) -> Iterator[None]:
    """Somebody asks every few seconds, from the first moment at which it can answer: a minute is soon over
    where a command is slow to see that."""
    done = threading.Event()

    def ask() -> None:
        while not done.wait(3):
            machine = machine_of(region, NAME)
            if machine is not None and machine.public_ip:
                answers({"api_key": KEY, "base_url": f"http://{machine.public_ip}:8000/v1"})

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()


def test_who_leaves_is_told_what_goes_on_and_when_it_ends(landed: Landed) -> None:
    told = "It stops by itself after 1 minute without a request, or after 6h, or when $50.00 are spent."
    assert told in landed.said


def test_the_relay_stands_before_llama_server_too(landed: Landed) -> None:
    facts = landed.facts
    assert answers(facts)
    assert not answers(facts | {"api_key": "sk-a-wrong-key"})
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{facts['endpoint']}/props", timeout=10)


def test_status_tells_idle_time_time_left_and_money(region: SimulatedRegion, landed: Landed) -> None:
    told = status(region)
    assert told["state"] == "ready"
    assert 0 <= told["idle_seconds"] < 60
    assert 0 < told["seconds_left"] <= IDLE_MINUTES * 60
    assert told["daily"] == pytest.approx(24 * told["hourly"])
    assert 0 < told["spent"] < 1


def test_more_time_can_be_given_while_it_runs(region: SimulatedRegion, landed: Landed) -> None:
    region.run("llm-atc", "extend", NAME, "--ttl", "2h", "--budget", "10")
    kept = region.ssh(NAME, "cat ~/.llm-atc/keeper/extension.json").stdout
    assert json.loads(kept) == {"ttl": 8 * 3600, "budget": 60}


def test_all_is_killed_before_a_new_machine_has_skypilots_agent(
    region: SimulatedRegion, landed: Landed
) -> None:
    leave_a_launch(
        region, *serve(EARLY, "--copy-minutes", "1"), when=lambda said: is_in(region, EARLY, "running")
    )
    assert is_in(region, EARLY, "running")


def test_all_is_killed_while_files_are_copied_to_a_new_machine(
    region: SimulatedRegion, landed: Landed
) -> None:
    # The empty task has nothing to run, and says so; after it the task itself begins.
    leave_a_launch(
        region,
        *serve(COPYING, "--copy-minutes", "3", "--verbose"),
        when=lambda said: "Run commands not specified or empty" in said,
    )
    assert is_in(region, COPYING, "running")


def test_a_long_stream_is_not_cut_and_the_machine_stops_by_itself_after_it(
    region: SimulatedRegion, landed: Landed
) -> None:
    machine, rebooted = machine_of(region, NAME), machine_of(region, REBOOTED)
    assert machine is not None
    assert rebooted is not None
    # llama-server goes on writing, however slowly it is read: on a core that others need.
    region.ssh(NAME, "sudo renice -n 19 -p $(ls /proc/$(pgrep -x llama-server)/task)")
    endless = request(landed.facts, stream=True, max_tokens=-1, ignore_eos=True)
    with urllib.request.urlopen(endless, timeout=60) as stream:
        landed.use.close()
        region.reboot(rebooted.id)
        leave(region)
        began, pieces = time.monotonic(), 0
        while time.monotonic() - began < STREAM_SECONDS:
            pieces += stream.readline().startswith(b"data: ")
            time.sleep(0.1)  # so that the engine has to wait, and is not done before
        assert pieces > 500
        assert is_in(region, NAME, "running")
    took = wait_until(lambda: is_in(region, NAME, "stopped"), (IDLE_MINUTES + AT_MOST_MORE) * 60)
    assert took > IDLE_MINUTES * 60
    assert f"stop {machine.id} by skypilot-v1/{machine.id}" in region.log_path.read_text()


# What a machine's end is in the region's log: its system was shut down, or its own role called EC2.
SHUT_DOWN, CALLED = "{id} powered itself off", "stop {id} by skypilot-v1/{id}"


@pytest.mark.parametrize(("name", "end"), [(EARLY, SHUT_DOWN), (COPYING, CALLED), (REBOOTED, CALLED)])
def test_every_machine_that_was_left_alone_stopped_meanwhile(
    region: SimulatedRegion, landed: Landed, name: str, end: str
) -> None:
    wait_until(lambda: is_in(region, name, "stopped"), 300)
    machine = machine_of(region, name)
    assert machine is not None
    assert end.format(id=machine.id) in region.log_path.read_text()


def test_commands_know_that_they_are_stopped(region: SimulatedRegion, landed: Landed) -> None:
    assert {
        name: status(region, name)["state"] for name in (NAME, EARLY, COPYING, REBOOTED)
    } == dict.fromkeys((NAME, EARLY, COPYING, REBOOTED), "stopped")
    gone = region.run("llm-atc", "endpoint", NAME, check=False)
    assert "it is stopped" in gone.stderr
    logs = region.run("llm-atc", "logs", NAME, check=False)
    assert (logs.returncode, "is stopped" in logs.stderr) == (1, True)
    region.run("llm-atc", "down", EARLY, COPYING, "--yes")
    assert {machine.id for machine in region.instances()} == {
        machine.id for name in (NAME, REBOOTED) if (machine := machine_of(region, name))
    }


@pytest.fixture(scope="module")
def started(region: SimulatedRegion, landed: Landed) -> Iterator[dict[str, str]]:
    """Where the one that is used answers after `start`, beside the one that was rebooted."""
    with ThreadPoolExecutor() as pool, in_use(region):
        other = pool.submit(region.run, "llm-atc", "start", REBOOTED, timeout=600)
        region.run("llm-atc", "start", NAME, timeout=600)
        other.result()
        yield endpoint(region)


def test_start_brings_it_back_with_the_same_key_at_a_new_address(
    landed: Landed, started: dict[str, str]
) -> None:
    assert started["api_key"] == landed.facts["api_key"] == KEY
    assert started["endpoint"] != landed.facts["endpoint"]
    assert answers(started)


def test_an_engine_loses_its_models_file(region: SimulatedRegion, started: dict[str, str]) -> None:
    spoil = "f=$(ls -d ~/.llm-atc/checkpoints/*/*.gguf); sudo truncate -s 100 $f; pkill -KILL -x llama-server"
    assert region.ssh(REBOOTED, f"pgrep -x llama-server && {spoil}").returncode == 0


@pytest.mark.parametrize("program", ["llama-server", "llm_atc.relay"])
def test_what_is_killed_on_the_machine_is_started_again(
    region: SimulatedRegion, started: dict[str, str], program: str
) -> None:
    assert answers(started)
    pid = pid_of(region, program)
    region.ssh(NAME, f"kill -KILL {pid}")
    wait_until(lambda: answers(started), 60)
    assert pid_of(region, program) not in ("", pid)


def test_an_engine_that_the_kernel_kills_for_want_of_memory_is_started_again(
    region: SimulatedRegion, started: dict[str, str]
) -> None:
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("taking the engine's memory away needs control groups of version 1")
    pid = pid_of(region, "llama-server")
    group = "/tmp/memory/engine"
    take_away = (
        f"mkdir /tmp/memory && sudo mount -t cgroup -o memory none /tmp/memory && sudo mkdir {group} && "
        f"echo 0 | sudo tee {group}/memory.limit_in_bytes && echo {pid} | sudo tee {group}/cgroup.procs"
    )
    region.ssh(NAME, take_away)
    try:
        # The next page that it asks for is one too many.
        wait_until(lambda: answers(started) and pid_of(region, "llama-server") not in ("", pid), 120)
    finally:
        region.ssh(NAME, f"sudo rmdir {group}", check=False)
    said = region.run("llm-atc", "logs", NAME).stdout
    assert "the engine was killed by the system, because memory ran out (code -9)" in said


def test_an_engine_that_hangs_is_started_again_also_when_the_disk_is_full(
    region: SimulatedRegion, started: dict[str, str]
) -> None:
    disk = "sudo mount -t tmpfs -o size=64k,mode=777 little ~/.llm-atc/keeper"
    filled = region.ssh(NAME, f"{disk}; head -c 1M /dev/zero > ~/.llm-atc/keeper/full", check=False)
    assert "No space left on device" in filled.stderr
    pid = pid_of(region, "llama-server")
    region.ssh(NAME, f"kill -STOP {pid}")
    wait_until(lambda: pid_of(region, "llama-server") not in ("", pid), 240)
    wait_until(lambda: answers(started), 60)
    said = region.run("llm-atc", "logs", NAME).stdout
    assert "the engine was killed from outside, as the system does when memory runs out (code -9)" in said
    assert "the relay was killed from outside" in said
    assert "the engine answered nothing for 2 minutes, and was killed" in said


def pid_of(region: SimulatedRegion, program: str) -> str:
    """The number of a program's first process on the machine; empty where there is none."""
    find = f"pgrep -f '^[^ ]*(python[^ ]* -m )?[^ ]*{program}( |$)' | head -n 1"
    return region.ssh(NAME, find).stdout.strip()


def test_down_ends_with_a_receipt(region: SimulatedRegion, started: dict[str, str]) -> None:
    done = region.run("llm-atc", "down", NAME, "--yes")
    assert "frugal is gone, and so are its keys." in done.stderr


def test_an_engine_that_cannot_start_any_more_ended_the_machine_with_nobody_there(
    region: SimulatedRegion, started: dict[str, str]
) -> None:
    leave(region)
    wait_until(lambda: is_in(region, REBOOTED, "stopped"), 240)
    assert status(region, REBOOTED)["state"] == "stopped"
    region.run("llm-atc", "down", REBOOTED, "--yes")
    assert region.instances() == ()
