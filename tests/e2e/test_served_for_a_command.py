"""`chat --serve` and `generate --serve`: a real llama-server for as long as a command runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.make_tiny_gguf import make as make_gguf
from examples.make_tiny_model import make
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import llama_cpp
from tests.local_fixtures import Told, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PROGRAM = "LLM_ATC_LLAMA_CPP_EXECUTABLE"
GREEDY = ("--temperature", "0")
HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
COMMAND = (sys.executable, "-c", f"{HEARD} from llm_atc.cli.main import run; run()")


@dataclass
class User:
    """Somebody with a home of their own, in a folder with two models."""

    home: Path
    folder: Path
    server: str

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("LLM_ATC_", "OPENAI_"))
        }
        ours = {
            "HOME": str(self.home),
            "LLM_ATC_HOME": str(self.home),
            PROGRAM: self.server,
            "COLUMNS": "300",
        }
        return kept | ours | more

    def run(self, *words: str, code: int = 0, stdin: str = "hi", **more: str) -> str:
        """What it printed as data, or what it complained of; it must end with this code."""
        done = subprocess.run(
            [*COMMAND, *words],
            env=self.environment(**more),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout

    def states(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in json.loads(self.run("status", "--json"))}

    def processes(self) -> list[int]:
        """Every process that a command of this user started, and that still runs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if f"LLM_ATC_HOME={self.home}".encode() in entry.joinpath("environ").read_bytes().split(
                        b"\0"
                    ):
                        found.append(int(entry.name))
        return found

    def check_nothing_is_left(self) -> None:
        assert self.states() == {}
        assert list(self.home.joinpath("local").iterdir()) == []
        eventually(lambda: self.processes() == [])


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, real_engines: EnginesHere) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("models")
    make(folder / "tiny")
    for name in ("tiny.gguf", "other.gguf"):
        make_gguf(folder / "tiny", folder / name)
    server = real_engines.ensure(llama_cpp.PIN, Told())
    user = User(home=tmp_path_factory.mktemp("user"), folder=folder, server=server)
    yield user
    user.run("down", "--all", "--yes")


@pytest.fixture
def slow(tmp_path: Path) -> str:
    """A llama-server that never comes to listen."""
    return script(tmp_path / "slow", "exec sleep 600")


@pytest.fixture
def poor(tmp_path: Path, user: User) -> str:
    """The real llama-server, with a context that is larger than the memory that it may have."""
    return script(tmp_path / "poor", f'ulimit -v 4000000; exec {user.server} "$@" --ctx-size 20000000')


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_chat_serves_its_model_and_takes_it_down_again(user: User) -> None:
    answer = json.loads(user.run("chat", "./tiny.gguf", "--serve", *GREEDY, "--max-tokens", "5", "--json"))
    assert (answer["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 5)
    user.check_nothing_is_left()


def test_an_engine_that_cannot_start_is_explained_and_leaves_nothing(user: User, poor: str) -> None:
    said = user.run("chat", "./tiny.gguf", "--serve", code=1, **{PROGRAM: poor})
    assert "Error: start-up: llama-cpp could not start. The model and its KV cache do not fit" in said
    assert "failed to allocate CPU buffer of size 10240000000" in said
    assert "still runs" not in said
    user.check_nothing_is_left()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_chat_that_is_ended_while_its_model_starts_leaves_nothing(
    user: User, slow: str, number: signal.Signals, code: int
) -> None:
    chat = subprocess.Popen(
        [*COMMAND, "chat", "./tiny.gguf", "--serve"],
        env=user.environment(**{PROGRAM: slow}),
        cwd=user.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert chat.stdin is not None
    assert chat.stderr is not None
    with chat.stdin, chat.stderr:
        said = ""
        for line in chat.stderr:
            said += line
            if "] weights" in line:
                chat.send_signal(number)
        assert chat.wait(60) == code, said
    assert "Ending tiny, which was started for this." in said
    assert "llm-atc" not in said, "there is nothing to look at, and nothing to end"
    user.check_nothing_is_left()


def test_a_chat_with_what_is_not_there_says_so(user: User) -> None:
    assert user.run("chat", code=1) == "Error: Nothing is deployed.\nTry: llm-atc chat MODEL --serve\n"
    assert "No deployment is called 'nope'. There is none." in user.run("chat", "nope", code=1)


@pytest.fixture(scope="module")
def one(user: User) -> str:
    """The name of a deployment that runs."""
    user.run("serve", "./tiny.gguf", "-c", "one", "--cloud", "local", "--yes")
    return "one"


def test_what_runs_is_used_and_left_running(user: User, one: str) -> None:
    there = str(user.folder / "tiny" / ".." / "tiny.gguf")
    for words in [(), (there, "--serve", "-c", one)]:
        answer = json.loads(user.run("chat", *words, *GREEDY, "--max-tokens", "2", "--json"))
        assert answer["usage"]["completion_tokens"] == 2
    said = user.run("chat", "./other.gguf", "--serve", "-c", one, code=1)
    assert "Error: one is a deployment of tiny.gguf already." in said
    assert user.states() == {"one": "ready"}


def test_what_is_stopped_is_started_if_asked_and_stopped_again(user: User, one: str) -> None:
    user.run("stop", one)
    stopped = "Error: one has no endpoint now: it is not running.\nTry: llm-atc start one\n"
    assert user.run("chat", one, code=1) == stopped
    (user.folder / "in.jsonl").write_text('{"prompt": "hi"}\n')
    answers = user.run("generate", one, "--serve", "-i", "in.jsonl", "-o", "-", *GREEDY, "--max-tokens", "2")
    assert json.loads(answers)["response"]["status_code"] == 200
    assert user.states() == {"one": "stopped"}


def test_a_chat_with_one_of_several_asks_which(user: User, one: str) -> None:
    user.run("serve", "./other.gguf", "-c", "two", "--cloud", "local", "--yes")
    several = "Error: Say with which: there are one, two.\nTry: llm-atc chat one\n"
    assert user.run("chat", code=2) == several
