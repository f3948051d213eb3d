"""A keeper as a real process, before a small engine that does as its mood says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llm_atc
from tests.cloud.network import free_port

KEY = "sk-atc-the-keepers-key"
PACKAGE = Path(llm_atc.__file__).parents[1]
ENGINE = Path(__file__).with_name("moody_engine.py")
PACE = {"tick": 0.2, "back_off": 0.2, "hang": 4, "grace": 3, "killed": 2, "answer": 0.5}


class Job:
    """A keeper under way, with what it prints; nothing of it is left in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.engine_port = free_port(), free_port()
        self.log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.prefix: tuple[str, ...] = ()

    def mood(self, mood: str) -> None:
        (self.folder / "mood").write_text(mood)

    def start(
        self, *, engine: tuple[str, ...] = (), variables: dict[str, str] | None = None, **pace: float
    ) -> None:
        words = [
            word
            for name, value in (PACE | pace).items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        command = engine or (sys.executable, str(ENGINE), str(self.engine_port))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*self.prefix, sys.executable, "-m", "llm_atc.keeper", "--key-env", "VLLM_API_KEY"),
                    *("--engine-port", str(self.engine_port), "--state", str(self.folder / "state"), *words),
                    *("--", *command),
                ],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(PACKAGE),
                    "PORT": str(self.port),
                    "AUTH": "key",
                    "VLLM_API_KEY": f"{KEY},sk-atc-another-key",
                    "HF_TOKEN": "hf_for_the_engine",
                    "MOOD": str(self.folder / "mood"),
                    "STARTS": str(self.folder / "starts"),
                    **(variables or {}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def ends(self, seconds: float = 30) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the job goes on:\n{self.said()}") from None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def until(self, holds: Callable[[], bool], seconds: float = 45) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.running(), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def ready(self) -> None:
        self.until(lambda: self.get("/health")[0] == 200)

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def complete(self, **fields: object) -> tuple[int, Any]:
        body = json.dumps({"model": "moody", "prompt": "Hi", **fields}).encode()
        url = f"http://127.0.0.1:{self.port}/v1/completions"
        return self.ask(urllib.request.Request(url, body, {"content-type": "application/json"}))

    def ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        request.add_header("Authorization", f"Bearer {KEY}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text.startswith(b"{") else text
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None
        except OSError:
            return 0, None

    def status(self) -> dict[str, Any]:
        code, told = self.get("/relay/status")
        assert code == 200
        assert isinstance(told, dict)
        return told

    def engines(self) -> list[int]:
        """The process ids of all engines so far, first start first."""
        starts = self.folder / "starts"
        return [int(line) for line in starts.read_text().split()] if starts.exists() else []

    def relay(self) -> int:
        """The relay's process id."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        (found,) = [c for c in children if b"llm_atc.relay" in Path(f"/proc/{c}/cmdline").read_bytes()]
        return int(found)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def soon(holds: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether this holds within that time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def extend(folder: Path, **variables: str) -> Path:
    """What `llm-atc extend` runs on a machine whose home this is; where the keeper of that home looks."""
    argv = [sys.executable, "-m", "llm_atc.keeper.extend"]
    more = {"HOME": str(folder), "PYTHONPATH": str(PACKAGE)}
    subprocess.run(argv, env=os.environ | more | variables, check=True)
    return folder / ".llm-atc" / "keeper"
