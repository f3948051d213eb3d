"""How much the relay costs: `python -m benchmarks.relay [--json] [--seconds N] [--rounds N] [--write]`.

One engine that costs next to nothing (benchmarks/stub_engine.py), and in front of it in turn: nothing, the
relay, nginx with one worker, and `vllm-router`. What stands in front has a core of its own where there are
two; engine and load generator (Debian's `wrk`) share the other. Every subject is measured in every round, and
its best round counts: on a busy machine the others tell of the machine. Read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results") / "relay.json"
ROUTER = "vllm-router==0.1.17"
KEY = "sk-atc-benchmark"
ALONE = "engine alone"
CONNECTIONS = (1, 32)
KINDS = ("plain", "streaming")
BODY = '{"model":"tiny","messages":[{"role":"user","content":"Hello"}]%s}'
WRK = """
wrk.method = "POST"
wrk.body = '%s'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""
NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One subject at one load: answers a second, and times in milliseconds, of its best round.

    `cpu` is microseconds of processor time of the subject for each answer, which other work on the machine
    changes less than rates: the median of its rounds.
    """

    subject: str
    kind: str
    connections: int
    per_second: float
    p50: float
    p99: float
    cpu: float


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(
    command: list[str], port: int, core: int, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server on this port and, where there is more than one, on this core."""
    cores = sorted(os.sched_getaffinity(0))
    pinned = ["taskset", "-c", str(cores[core]), *command] if len(cores) > 1 else command
    started = subprocess.Popen(
        pinned, cwd=ROOT, env=os.environ | environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(port, started)
        yield started
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def wait_for(port: int, started: subprocess.Popen[bytes]) -> None:
    """Until a chat is answered."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", data=(BODY % "").encode())
    asked.add_header("Authorization", f"Bearer {KEY}")
    asked.add_header("Content-Type", "application/json")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and started.poll() is None:
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                answer.read()
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise SystemExit(f"{started.args!r} does not answer")


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that answers on this port, and its process, which may have children."""

    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in family)


def subjects(stack: ExitStack, alone: Subject, folder: Path) -> dict[str, Subject]:
    """Each that could be started; what is not installed is left out, and said."""
    found = {ALONE: alone}

    def start(name: str, command: list[str], port: int) -> None:
        started = stack.enter_context(running(command, port, 1, BENCHMARK_KEY=KEY))
        found[name] = Subject(port, psutil.Process(started.pid))

    engine, port = f"http://127.0.0.1:{alone.port}", free_port()
    command = [sys.executable, "-m", "llm_atc.relay", "--upstream", engine, "--key-env", "BENCHMARK_KEY"]
    start("relay", [*command, "--listen", f"127.0.0.1:{port}"], port)
    if shutil.which("nginx"):
        port = free_port()
        written = folder / "nginx.conf"
        written.write_text(NGINX.format(folder=folder, engine=alone.port, port=port))
        start("nginx", ["nginx", "-c", str(written)], port)
    else:
        print("nginx is not installed: left out", file=sys.stderr)
    port = free_port()
    command = [sys.executable, "-m", "uv", "tool", "run", "--from", ROUTER, "vllm-router"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", engine]
    command += ["--prometheus-port", str(free_port()), "--policy", "round_robin", "--log-level", "error"]
    try:
        start("vllm-router", command, port)
    except SystemExit as error:
        print(f"{ROUTER} is left out: {error}", file=sys.stderr)
    return found


def wrk(subject: Subject, kind: str, connections: int, seconds: int, folder: Path) -> tuple[float, ...]:
    """Answers a second, the 50th and 99th percentile of their times, and processor time, as in Measured."""
    script = folder / f"{kind}.lua"
    script.write_text(WRK % (BODY % (',"stream":true' if kind == "streaming" else ""), KEY))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        command = ["taskset", "-c", str(cores[0]), *command]
    before = subject.cpu()
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{subject.port}/v1/chat/completions"],
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = re.search(r"Non-2xx.*|Socket errors.*", done.stdout)
    if wrong:
        raise SystemExit(f"port {subject.port}: {wrong[0]}")
    spent = subject.cpu() - before
    rate, count = (
        re.search(r"Requests/sec:\s+([\d.]+)", done.stdout),
        re.search(r"(\d+) requests in", done.stdout),
    )
    assert rate is not None
    assert count is not None
    cpu = spent * 1e6 / max(int(count[1]), 1)
    return float(rate[1]), percentile(done.stdout, 50), percentile(done.stdout, 99), cpu


def percentile(text: str, number: int) -> float:
    found = re.search(rf"^\s+{number}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def measure(rounds: int, seconds: int) -> list[Measured]:
    """Every subject at every load."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        folder = Path(directory)
        engine = free_port()
        command = [sys.executable, "-m", "benchmarks.stub_engine", str(engine)]
        started = stack.enter_context(running(command, engine, 0))
        tried = subjects(stack, Subject(engine, psutil.Process(started.pid)), folder)
        seen: dict[tuple[str, str, int], list[tuple[float, ...]]] = {}
        for _ in range(rounds):
            for kind in KINDS:
                for connections in CONNECTIONS:
                    for name, subject in tried.items():
                        got = wrk(subject, kind, connections, seconds, folder)
                        seen.setdefault((name, kind, connections), []).append(got)
    return [
        Measured(
            subject=subject,
            kind=kind,
            connections=connections,
            per_second=round(max(got)[0], 1),
            p50=round(max(got)[1], 3),
            p99=round(max(got)[2], 3),
            cpu=round(statistics.median(one[3] for one in got), 1),
        )
        for (subject, kind, connections), got in seen.items()
    ]


def ratios(found: list[Measured]) -> dict[str, dict[str, float]]:
    """The relay's rate against each other's, by load: 1.5 is half as many again."""
    relay = {(one.kind, one.connections): one for one in found if one.subject == "relay"}
    told: dict[str, dict[str, float]] = {}
    for one in found:
        if one.subject != "relay":
            load = f"{one.kind}, {one.connections}"
            ratio = relay[one.kind, one.connections].per_second / one.per_second
            told.setdefault(one.subject, {})[load] = round(ratio, 2)
    return told


def table(found: list[Measured]) -> str:
    """A row for each subject and load."""
    lines = [
        f"{'':14}{'':11}{'clients':>8}{'a second':>11}{'p50 ms':>9}{'p99 ms':>9}{'cpu us':>8}{'relay is':>10}"
    ]
    told = ratios(found)
    for one in found:
        ratio = told.get(one.subject, {}).get(f"{one.kind}, {one.connections}")
        times = "" if ratio is None else f"{ratio:.2f} x"
        lines.append(
            f"{one.subject:14}{one.kind:11}{one.connections:>8}{one.per_second:>11,.0f}"
            f"{one.p50:>9.3f}{one.p99:>9.3f}{one.cpu:>8.0f}{times:>10}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)} too")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    found = measure(given.rounds, given.seconds)
    told = {
        "cores": os.cpu_count(),
        "seconds": given.seconds,
        "rounds": given.rounds,
        "measured": [asdict(one) for one in found],
        "relay_against": ratios(found),
    }
    text = json.dumps(told, indent=1)
    if given.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text + "\n")
    print(text if given.json else table(found))


if __name__ == "__main__":
    main()
