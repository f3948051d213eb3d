"""Whether the relay's memory stays as it is: `python -m benchmarks.soak [--json] [--requests N] [--write]`.

A million requests from 64 connections (Debian's `wrk`): most of them plain chats, some streams, wrong keys,
routes that are not on the list, bodies that are no JSON, and requests that are no HTTP; beside them clients
that leave in the middle of a stream. The relay's resident memory is read every few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.pages import keep
from benchmarks.servers import CHAT, KEY, Server, free_port, on_core, running

SLICE = 5
CONNECTIONS = 64
WARM = 100_000
STREAM = CHAT % ',"stream":true'
# Of every 100 requests; what is left are plain chats.
MIX = """
local json = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer %(key)s"}
local wrong = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer sk-wrong"}
local path, number = "/v1/chat/completions", 0
request = function()
  number = number + 1
  local turn = number %% 100
  if turn < 4 then return wrk.format("POST", path, json, '%(stream)s') end
  if turn < 7 then return wrk.format("POST", path, wrong, '%(plain)s') end
  if turn < 8 then return wrk.format("POST", "/invocations", json, '%(plain)s') end
  if turn < 9 then return wrk.format("POST", path, json, '{"model": "tiny", "messages') end
  if turn < 10 then return "POST " .. path .. " HTTP/1.1\\r\\nContent-Length: nine\\r\\n\\r\\n" end
  return wrk.format("POST", path, json, '%(plain)s')
end
"""


class Leavers:
    """Clients that ask for a stream and leave after its first bytes, one after the other."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self._port = port
        self._over = threading.Event()

    @contextmanager
    def coming(self) -> Iterator[None]:
        thread = threading.Thread(target=self._come)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _come(self) -> None:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
        asked = (
            f"{head}Content-Type: application/json\r\nContent-Length: {len(STREAM)}\r\n\r\n{STREAM}".encode()
        )
        while not self._over.wait(0.02):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 10) as client:
                client.sendall(asked)
                self.count += bool(client.recv(64))


def counted(port: int) -> dict[str, int]:
    """What the relay itself counted, by status: 499 are clients that left."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/relay/metrics")
    asked.add_header("Authorization", f"Bearer {KEY}")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for status, number in re.findall(r'_(?:requests|refusals)_total\{.*status="(\d+)"\} (\d+)', text):
        found[status] = found.get(status, 0) + int(number)
    return found


def measure(requests: int) -> dict[str, object]:
    """The relay's memory in KiB after so many requests, every few seconds."""
    engine, port = free_port(), free_port()
    command = [sys.executable, "-m", "llm_atc.relay", "--upstream", f"http://127.0.0.1:{engine}"]
    command += ["--listen", f"127.0.0.1:{port}", "--key-env", "BENCHMARK_KEY"]
    stub = [sys.executable, "-m", "benchmarks.stub_engine", str(engine)]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(stub, engine, 0),
        running(command, port, 1, BENCHMARK_KEY=KEY) as relay,
    ):
        script = Path(folder) / "mix.lua"
        script.write_text(MIX % {"key": KEY, "plain": CHAT % "", "stream": STREAM})
        leavers = Leavers(port)
        with leavers.coming():
            samples = list(sampled(relay, script, leavers, requests))
        return {"samples": samples, "answers": counted(port), **grown(samples)}


def sampled(relay: Server, script: Path, leavers: Leavers, requests: int) -> Iterator[tuple[int, int]]:
    """Requests so far, and KiB, until there have been enough."""
    asked = 0
    url = f"http://127.0.0.1:{relay.port}/"
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SLICE}s", "--timeout", "30s", "-s", str(script), url]
    while asked + leavers.count < requests:
        done = subprocess.run(on_core(words, 0), capture_output=True, text=True, check=True)
        asked += int((re.search(r"(\d+) requests in", done.stdout) or ["", "0"])[1])
        yield asked + leavers.count, relay.memory() // 1024
        print(f"\r{asked + leavers.count:>9,} requests", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def grown(samples: list[tuple[int, int]]) -> dict[str, int]:
    """How much memory grew from the first sample after WARM requests to the last, in KiB."""
    warm = next((sample for sample in samples if sample[0] >= WARM), samples[-1])
    return {
        "requests": samples[-1][0],
        "warm_requests": warm[0],
        "warm_kib": warm[1],
        "last_kib": samples[-1][1],
        "grown_kib": samples[-1][1] - warm[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a line")
    parser.add_argument("--requests", type=int, default=1_000_000, help="default: a million")
    parser.add_argument("--write", action="store_true", help="write results/soak.json and docs too")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    found = {"cores": os.cpu_count(), **measure(given.requests)}
    if given.write:
        keep("soak", found)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(
        "{warm_kib:,} KiB after {warm_requests:,} requests, {last_kib:,} after {requests:,}".format(**found)
    )


if __name__ == "__main__":
    main()
