"""Servers that benchmarks start, on a core of their own where there are two, and end again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
KEY = "sk-atc-benchmark"
CHAT = '{"model":"tiny","messages":[{"role":"user","content":"Hello"}]%s}'


@dataclass(frozen=True, slots=True)
class Server:
    """Something that answers on this port, and its process, which may have children."""

    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return sum(sum(one.cpu_times()[:2]) for one in self._family())

    def memory(self) -> int:
        """Bytes of memory that are resident now."""
        return sum(int(one.memory_info().rss) for one in self._family())

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def on_core(command: list[str], number: int) -> list[str]:
    """The command, kept on this core where there is more than one."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[number]), *command] if len(cores) > 1 else command


@contextmanager
def running(command: list[str], port: int, core: int, **environment: str) -> Iterator[Server]:
    """A server on this port and this core, from its first answer to a chat on."""
    started = subprocess.Popen(
        on_core(command, core),
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port, started)
        yield Server(port, psutil.Process(started.pid))
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def wait_for(port: int, started: subprocess.Popen[bytes]) -> None:
    """Until a chat is answered. Ends the benchmark when the server does."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", data=(CHAT % "").encode())
    asked.add_header("Authorization", f"Bearer {KEY}")
    asked.add_header("Content-Type", "application/json")
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and started.poll() is None:
        try:
            with urllib.request.urlopen(asked, timeout=15) as answer:
                answer.read()
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise SystemExit(f"{started.args!r} does not answer")
