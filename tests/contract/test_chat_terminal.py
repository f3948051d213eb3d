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
CTRL_C, CTRL_D, ENTER, ALT_ENTER, UP = b"\x03", b"\x04", b"\r", b"\x1b\r", b"\x1b[A"


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


def test_lines_commands_and_history_at_a_terminal(home: Path) -> None:
    with OpenAIServer(
        lambda ask: told("**Roger", f"** to {len(ask.said)}."), models=("tiny", "big")
    ) as server:
        with Terminal(home, server.url) as terminal:
            terminal.prompted()
            terminal.type(b"one" + ALT_ENTER + b"two\\" + ENTER + b"three" + ENTER)
            assert "Roger\x1b[0m to 13." in terminal.until("to 13.")
            terminal.say("/clera")
            terminal.until("Did you mean /clear?")
            terminal.say("/system Be brief.")
            terminal.until("System: Be brief.")
            terminal.say("/params temperature 3")
            terminal.until("between 0 and 2")
            terminal.say("/params temperature 0.5")
            terminal.until("0.5")
            terminal.say("/model big")
            terminal.until("* big")
            terminal.say("four")
            terminal.until("to 4.")
            terminal.say("/save kept")
            terminal.until("kept.json")
            terminal.say("/clear")
            terminal.until("Forgotten")
            terminal.say("/history")
            terminal.until("Nothing was said yet")
            terminal.say("/load kept")
            terminal.until("Loaded: 4 messages")
            terminal.say("/quit")
            assert terminal.ended() == 0
        with Terminal(home, server.url) as terminal:
            terminal.prompted()
            for _ in range(6):
                terminal.type(UP)
            terminal.until("four")
            terminal.type(CTRL_C)
            terminal.prompted()
            terminal.type(CTRL_D)
            assert terminal.ended() == 0
        first, second = (body for _, body in server.asked)
    assert first["messages"] == [{"role": "user", "content": "one\ntwo\nthree"}]
    assert (second["model"], second["temperature"]) == ("big", 0.5)
    assert [message["content"] for message in second["messages"]] == [
        "Be brief.",
        "one\ntwo\nthree",
        "**Roger** to 13.",
        "four",
    ]
    assert (home / "chat-history").stat().st_mode & 0o777 == 0o600


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


TOOL = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("tower")

@server.tool()
def clear(runway: str) -> str:
    "Clear a runway."
    return f"{runway} is clear"

server.run()
"""


def test_a_tool_is_called_when_the_user_says_so(home: Path) -> None:
    (home / "tower.py").write_text(TOOL)
    (home / "mcp.json").write_text(
        f'{{"mcpServers": {{"tower": {{"command": "{sys.executable}", "args": ["{home / "tower.py"}"]}}}}}}'
    )
    call = {"index": 0, "id": "c", "function": {"name": "tower__clear", "arguments": '{"runway": "25L"}'}}

    def script(ask: Ask) -> Answer:
        if ask.body["messages"][-1]["role"] == "tool":
            return told(f"Result: {ask.said}.")
        return Answer(stream=[event({"tool_calls": [call]}, "tool_calls"), b"data: [DONE]\n\n"])

    with OpenAIServer(script) as server, Terminal(home, server.url, "--enable-mcp") as terminal:
        terminal.until("tower: 1 tools")
        for answer, result in (("n", "The user declined this call.."), ("always", "25L is clear.")):
            terminal.say("Is it clear?")
            terminal.until("[y/n/always]")
            terminal.type(answer.encode() + ENTER)
            terminal.until(f"Result: {result}")
        terminal.say("And now?")
        assert "y/n/always" not in terminal.until("Result: 25L is clear.")
        terminal.say("/mcp")
        terminal.until("Clear a runway.")
        terminal.prompted()
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
