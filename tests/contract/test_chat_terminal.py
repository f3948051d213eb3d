"""`llm-atc chat` at a terminal: a real pseudo-terminal, and a server that answers by a script."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

from tests.openai_server import Answer, Ask, OpenAIServer, event, told

SECONDS = 30
ENTER = b"\r"


class Terminal:
    """A chat on a pseudo-terminal, while the `with` block runs."""

    def __init__(self, home: Path, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self._seen = b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from llm_atc.cli.main import run; run()", "chat", *words],
            env=os.environ
            | {"LLM_ATC_HOME": str(home), "TERM": "xterm", "COLUMNS": "200", "PROMPT_TOOLKIT_NO_CPR": "1"},
            cwd=home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # makes it the controlling one
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, keys: bytes | str) -> None:
        """Press these keys."""
        os.write(self._ours, keys.encode() if isinstance(keys, str) else keys)

    def say(self, text: str) -> None:
        """Type a text at the next prompt and send it."""
        self.prompted()
        self.type(text)
        self.type(ENTER)

    def until(self, text: str) -> str:
        """All that was shown up to this text, since the last such call."""
        deadline = time.monotonic() + SECONDS
        while (place := self._seen.find(text.encode())) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} never came: {self._seen!r}"
            if select.select([self._ours], [], [], left)[0]:
                self._seen += os.read(self._ours, 65536)
        end = place + len(text.encode())
        shown, self._seen = self._seen[:end], self._seen[end:]
        return shown.decode(errors="replace")

    def prompted(self) -> None:
        """Wait for the next prompt, which turns on bracketed paste."""
        self.until("\x1b[?2004h")

    def interrupt(self) -> None:
        """Press Ctrl-C while no prompt is there: the terminal makes a signal of it."""
        os.killpg(self._process.pid, signal.SIGINT)

    def ended(self) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    self._seen += os.read(self._ours, 65536)
                except OSError:  # the other end is closed
                    return self._process.wait(SECONDS)
        return self._process.returncode


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_ctrl_c_ends_an_answer_and_the_chat_goes_on(home: Path) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield event({"content": "word\n\n"})
                threading.Event().wait(0.02)
        finally:
            closed.set()

    def script(ask: Ask) -> Answer:
        return Answer(stream=endless()) if ask.said == "for ever" else told("Landed.")

    with OpenAIServer(script) as server, Terminal(home, server.url) as terminal:
        terminal.say("for ever")
        terminal.until("word")
        terminal.interrupt()
        terminal.until("Cancelled")
        assert closed.wait(20)
        terminal.say("again")
        terminal.until("Landed.")
        terminal.say("/quit")
        assert terminal.ended() == 0
        assert server.asked[1][1]["messages"] == [{"role": "user", "content": "again"}]
