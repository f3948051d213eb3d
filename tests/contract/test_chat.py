"""`llm-atc chat` in a pipe, against a real HTTP server with a script, and real tool servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_atc.chat.conversation import Conversation
from llm_atc.chat.endpoint import ChatEndpoint
from llm_atc.chat.tool_servers import HttpServer, StdioServer, ToolServer
from llm_atc.chat.toolbox import toolbox
from llm_atc.chat.turn import ROUNDS, NoTools, Setting, Turn, ask
from llm_atc.cli.chat_screen import Approval, QuietScreen
from llm_atc.errors import EndpointError
from tests.local_fixtures import eventually
from tests.openai_server import Answer, Ask, OpenAIServer, event, told


def silent_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


TOOLS = """
import os, sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("tower")

@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

@server.tool()
def fail() -> str:
    "Always fails."
    raise ValueError("no fuel")

@server.tool()
def whoami() -> str:
    "Tell a variable."
    return os.environ.get("CALLSIGN", "nobody")

if sys.argv[1:]:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run()
"""


def run(home: Path, *words: str, stdin: str = "hi", code: int = 0, **environment: str) -> tuple[str, str]:
    """What a chat in a pipe printed on stdout and stderr; it must end with this code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_ATC_", "OPENAI_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from llm_atc.cli.main import run; run()", "chat", *words],
        env=kept | {"LLM_ATC_HOME": str(home), "COLUMNS": "300"} | environment,
        cwd=home.parent,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def talk_once(server: OpenAIServer, tools: Any, model: str = "tiny") -> Turn:
    """One turn of a chat, in which every tool may be called."""
    screen = QuietScreen(Approval(None, yes=True))
    setting = Setting(model=model, parameters={})
    return ask(ChatEndpoint(url=server.url), Conversation(), "hi", setting, tools, screen)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_a_pipe_gets_the_answer_and_nothing_else(home: Path) -> None:
    with OpenAIServer(lambda ask: told("**Hel", "lo** 🛬\n", "there")) as server:
        out, err = run(home, f"{server.url}/v1/", "--system", "Be brief.", stdin=" What?\n")
        path, body = server.asked[0]
    assert (out, err) == ("**Hello** 🛬\nthere\n", "")
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_json_in_a_pipe_is_one_object(home: Path) -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 1}}\n\n'
    thought = event({"reasoning_content": "Hm."})
    stream = [thought, event({"content": "Hi"}), event({}, "length"), usage, b"data: [DONE]\n\n"]
    with OpenAIServer(lambda ask: Answer(stream=stream)) as server:
        out, err = run(home, server.url, "--json")
    assert json.loads(out) == {
        "model": "tiny",
        "answer": "Hi",
        "reasoning": "Hm.",
        "finish_reason": "length",
        "usage": {"prompt_tokens": 4, "completion_tokens": 1},
        "tool_calls": [],
    }
    assert "the limit of tokens" in err


def test_only_what_was_given_is_sent_and_the_key_is_a_variable_s(home: Path) -> None:
    given = ("--temperature", "0", "--max-tokens", "7", "--top-p", "0.5", "--top-k", "3")
    penalties = ("--presence-penalty", "-2", "--frequency-penalty", "2")
    key = "sk-of-the-tower"
    with OpenAIServer(lambda ask: told("a"), key=key, models=("one", "two")) as server:
        words = (server.url, "--api-key", "TOWER_KEY", "--model", "two", *given, *penalties)
        run(home, *words, TOWER_KEY=key)
        body = server.asked[0][1]
        refused, err = run(home, server.url, "--model", "two", code=1)
    left = {
        name: value for name, value in body.items() if name not in ("messages", "stream", "stream_options")
    }
    assert left == {
        "model": "two",
        "temperature": 0,
        "max_tokens": 7,
        "top_p": 0.5,
        "top_k": 3,
        "presence_penalty": -2,
        "frequency_penalty": 2,
    }
    assert refused == ""
    assert "refuses a request without a key" in err
    assert "--api-key" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--temperature", "3"), "between 0 and 2"),
        (("--top-p", "1.1"), "between 0 and 1"),
        (("--frequency-penalty", "-2.5"), "between -2 and 2"),
        (("--gpus", "2"), "--gpus is for a model that is served now"),
        (("--", "--enforce-eager"), "What follows -- is for a model that is served now"),
    ],
)
def test_what_was_typed_wrong_is_told_before_anything_is_asked(
    home: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in run(home, "http://127.0.0.1:9", *words, code=2)[1]


def test_who_is_talked_to_must_be_said_and_be_there(home: Path) -> None:
    assert "llm-atc chat MODEL --serve" in run(home, code=1)[1]
    assert "No deployment is called 'tower'" in run(home, "tower", code=1)[1]
    assert "is no address" in run(home, "ftp://tower", code=2)[1]
    nobody = f"http://127.0.0.1:{silent_port()}"
    assert f"Nothing answers at {nobody}" in run(home, nobody, code=1)[1]
    with OpenAIServer(lambda ask: told("a")) as server:
        assert "nothing on stdin" in run(home, server.url, stdin=" \n", code=2)[1]


NO_TEMPLATE = "As of transformers v4.44, default chat template is no longer allowed, so you must provide one"
TOO_LONG = "This model's maximum context length is 512 tokens. However, you requested 600 tokens"
NO_CHOICE = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (Answer(401, {"error": "Unauthorized"}), "refuses a request without a key", "--api-key"),
        (Answer(404, {"error": {"message": "?"}}), "has no model 'x'. It has: tiny.", "--model tiny"),
        (Answer(400, {"error": {"message": NO_TEMPLATE}}), "no chat template", "--chat-template"),
        (Answer(400, {"message": TOO_LONG}), "longer than the model's context", "/clear"),
        (Answer(400, {"error": {"message": NO_CHOICE}}), "not started for tools", "--tool-call-parser"),
        (Answer(429, {}, {"Retry-After": "7"}), "too much to do", "ask again in 7 s"),
        (Answer(429, {}, {"Retry-After": "Fri, 1 Jan"}), "too much to do", "ask again after Fri, 1 Jan"),
        (Answer(503, {"error": {"message": "Loading model"}}), "not ready: Loading model.", "llm-atc status"),
        (Answer(500, {"error": {"message": "boom"}}), "answered 500: boom", None),
        (Answer(418, b"<html>\n a teapot"), "answered 418: <html> a teapot", None),
        (Answer(stream=[event({"content": "a"})], cut=True), "broke off", "ask again"),
        (Answer(stream=[event({"content": "a"})]), "broke off", "ask again"),
        (Answer(cut=True), "broke off", "ask again"),
        (Answer(stream=[b'data: {"error": {"message": "CUDA died"}}\n\n']), "it answered: CUDA died", None),
        (Answer(stream=[b"data: <html>\n\n"]), "no JSON", None),
    ],
)
def test_every_failure_of_a_server_is_a_sentence_with_advice(
    answer: Answer, message: str, hint: str | None
) -> None:
    with OpenAIServer(lambda ask: answer) as server, pytest.raises(EndpointError) as raised:
        talk_once(server, NoTools(), model="x")
    assert message in raised.value.message
    assert (hint in (raised.value.hint or "")) if hint else raised.value.hint is None


def test_ctrl_c_in_a_pipe_closes_the_request_and_ends_with_130(home: Path) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield event({"content": "word "})
                threading.Event().wait(0.02)
        finally:
            closed.set()

    with OpenAIServer(lambda ask: Answer(stream=endless())) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", "from llm_atc.cli.main import run; run()", "chat", server.url],
            env=os.environ | {"LLM_ATC_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hi")
        process.stdin.close()
        assert process.stdout.read(10) == b"word word "
        process.send_signal(signal.SIGINT)
        assert closed.wait(20)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert b"Interrupted" in process.stderr.read()
        process.stdout.close()
        process.stderr.close()


def calling(name: str, *fragments: str) -> Answer:
    """An answer that calls one tool, its arguments in fragments."""

    def piece(**call: Any) -> bytes:
        return event({"tool_calls": [{"index": 0, **call}]})

    first = piece(id="call_1", type="function", function={"name": name, "arguments": ""})
    rest = [piece(function={"arguments": fragment}) for fragment in fragments]
    return Answer(stream=[first, *rest, event({}, "tool_calls"), b"data: [DONE]\n\n"])


def calls_once(name: str, *fragments: str) -> Any:
    """A script: call the tool, then say its result."""

    def script(ask: Ask) -> Answer:
        return (
            told(f"It is {ask.said}")
            if ask.body["messages"][-1]["role"] == "tool"
            else calling(name, *fragments)
        )

    return script


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A real MCP server's program."""
    path = tmp_path / "tower.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
def config(home: Path, program: Path) -> Path:
    """The default configuration, with a server that works and one that does not."""
    good = {"command": sys.executable, "args": [str(program)], "env": {"CALLSIGN": "${SIGN}"}}
    bad = {"command": sys.executable, "args": ["-c", "import sys; sys.exit('no runway')"]}
    path = home / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"bad": bad, "tower": good}}))
    return path


def test_a_model_calls_a_tool_of_a_real_server_and_answers_with_its_result(home: Path, config: Path) -> None:
    with OpenAIServer(calls_once("tower__add", '{"a":', " 2, ", '"b": 40}')) as server:
        out, err = run(home, server.url, "--enable-mcp", "--yes", SIGN="LH1")
        first, second = (body for _, body in server.asked)
    assert out == "It is 42\n"
    names = [tool["function"]["name"] for tool in first["tools"]]
    assert names == ["tower__add", "tower__fail", "tower__whoami"]
    assert first["tools"][0]["function"]["description"] == "Add two numbers."
    assert first["tools"][0]["function"]["parameters"]["required"] == ["a", "b"]
    arguments = {"name": "tower__add", "arguments": '{"a": 2, "b": 40}'}
    assert second["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": arguments}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    ]
    assert "bad: not there: " in err
    assert "its last words: no runway" in err
    assert '⚙ tower__add {"a": 2, "b": 40}' in err


def test_a_call_that_nobody_approves_is_declined_and_the_model_is_told(home: Path, config: Path) -> None:
    with OpenAIServer(calls_once("tower__add", '{"a": 2, "b": 40}')) as server:
        out, err = run(home, server.url, "--mcp-config", str(config), SIGN="LH1")
    assert out == "It is The user declined this call.\n"
    assert "· Declined: there is no terminal to ask on." in err


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("tower__whoami", "", "LH1"),
        ("tower__fail", "{}", "The tool failed: Error executing tool fail"),
        ("tower__land", "{}", "There is no tool 'tower__land'"),
        ("tower__add", '{"a": ', "The arguments are no JSON"),
        ("tower__add", "[1]", "The arguments are no JSON object"),
        ("tower__add", '{"a": "x", "b": 1}', "The tool failed"),
    ],
)
def test_a_tool_s_failure_is_a_result_for_the_model(
    program: Path, name: str, arguments: str, result: str
) -> None:
    server = StdioServer(name="tower", command=sys.executable, args=(str(program),), env={"CALLSIGN": "LH1"})
    with OpenAIServer(calls_once(name, arguments)) as model, toolbox([server], program.parent) as box:
        turn = talk_once(model, box)
    assert result in turn.calls[0][1]
    assert turn.answer.text == f"It is {turn.calls[0][1]}"


def test_a_model_that_calls_tools_for_ever_is_ended(program: Path) -> None:
    server = StdioServer(name="tower", command=sys.executable, args=(str(program),))
    with (
        OpenAIServer(lambda ask: calling("tower__add", '{"a": 1, "b": 1}')) as model,
        toolbox([server], program.parent) as box,
        pytest.raises(EndpointError, match=f"called tools {ROUNDS} times"),
    ):
        talk_once(model, box)


@pytest.fixture
def over_http(program: Path) -> Iterator[int]:
    """The port of the same server over streamable HTTP."""
    port = silent_port()
    process = subprocess.Popen(
        [sys.executable, program, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(listens)
        yield port
    finally:
        process.kill()
        process.wait()


def test_tools_come_over_http_too_and_who_is_not_there_is_named(over_http: int, program: Path) -> None:
    servers: list[ToolServer] = [
        HttpServer(name="my tower", url=f"http://127.0.0.1:{over_http}/mcp", headers={"X-Sign": "LH1"}),
        HttpServer(name="gone", url=f"http://127.0.0.1:{silent_port()}/mcp?key=hush"),
        StdioServer(name="absent", command="no-such-program"),
    ]
    with (
        OpenAIServer(calls_once("my_tower__add", '{"a": 1, "b": 1}')) as model,
        toolbox(servers, program.parent / "logs") as box,
    ):
        assert talk_once(model, box).answer.text == "It is 2"
        found = {server.name: server for server in box.servers}
    assert found["my tower"].tools == ("my_tower__add", "my_tower__fail", "my_tower__whoami")
    assert found["gone"].failure is not None
    assert "hush" not in found["gone"].failure
    assert "no-such-program" in (found["absent"].failure or "")


def test_the_programs_of_tool_servers_end_with_the_chat(program: Path) -> None:
    server = StdioServer(name="tower", command=sys.executable, args=(str(program),))

    def running() -> list[str]:
        lines = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(process.read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return [line for line in lines if str(program) in line]

    with toolbox([server], program.parent):
        assert len(running()) == 1
    assert running() == []
