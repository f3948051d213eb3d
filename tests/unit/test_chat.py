"""The parts of a chat that need no endpoint: streams, commands, conversations, ranges, Markdown, files."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.chat.blocks import finished, printable
from llm_atc.chat.commands import COMMANDS, Command, read_line
from llm_atc.chat.conversation import Conversation, Message, ToolCall, read_conversation
from llm_atc.chat.parameters import read_parameter
from llm_atc.chat.sessions import Sessions
from llm_atc.chat.stream import CallPiece, Draft, EventReader, Piece, StreamError, read_piece
from llm_atc.chat.tool_servers import HttpServer, StdioServer, read_tool_servers
from llm_atc.cli.chat_prompt import _DOES
from llm_atc.errors import AtcError, ToolError, UsageError

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)
CALLS = st.builds(ToolCall, id=st.text(), name=st.text(), arguments=st.text())


@given(
    events=st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 400)),
)
def test_events_come_out_whole_however_their_bytes_are_cut(
    events: list[list[str]], end: str, cuts: list[int]
) -> None:
    lines = (end.join([": ping", *(f"data: {line}" for line in event), "", ""]) for event in events)
    data = ("".join(lines) + ": the end" + end).encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = EventReader()
    found = [one for a, b in pairwise(places) for one in reader.feed(data[a:b])]
    assert found == ["\n".join(event) for event in events]


def test_a_letter_of_several_bytes_may_be_cut_anywhere() -> None:
    reader = EventReader()
    found = [one for byte in "data: größer 🛬\n\n".encode() for one in reader.feed(bytes([byte]))]
    assert found == ["größer 🛬"]


def test_an_event_that_was_not_ended_is_none() -> None:
    assert EventReader().feed(b"data: half") == []


def test_a_piece_holds_text_thought_calls_and_the_end() -> None:
    call = {"index": 1, "id": "c", "function": {"name": "add", "arguments": '{"a"'}}
    delta = {"content": "x", "reasoning_content": "y", "tool_calls": [call]}
    event = {"choices": [{"delta": delta, "finish_reason": "stop"}], "usage": {"total_tokens": 3}}
    assert read_piece(json.dumps(event)) == Piece(
        text="x",
        thought="y",
        calls=(CallPiece(index=1, id="c", name="add", arguments='{"a"'),),
        finish="stop",
        usage={"total_tokens": 3},
    )
    assert read_piece('{"choices": [], "usage": null}') == Piece()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ('{"error": {"message": "out of\\nmemory", "code": 500}}', "^out of memory$"),
        ('{"object": "error", "message": "gone"}', "^gone$"),
        ("<html>", "no JSON"),
        ("[]", "no answer"),
        ('{"choices": [3]}', "no answer"),
    ],
)
def test_a_failure_within_a_stream_is_told(data: str, told: str) -> None:
    with pytest.raises(StreamError, match=told):
        read_piece(data)


def test_tool_calls_are_put_together_from_fragments_in_any_order() -> None:
    draft = Draft()
    for piece in (
        CallPiece(index=1, id="two", name="mul", arguments=""),
        CallPiece(index=0, id="one", name="add", arguments='{"a"'),
        CallPiece(index=1, arguments='{"b": 2}'),
        CallPiece(index=0, arguments=": 1}"),
    ):
        draft.add(Piece(calls=(piece,)))
    assert draft.answer().calls == (
        ToolCall(id="one", name="add", arguments='{"a": 1}'),
        ToolCall(id="two", name="mul", arguments='{"b": 2}'),
    )


def test_calls_without_an_index_or_an_id_are_told_apart() -> None:
    draft = Draft()
    for piece in (
        CallPiece(index=None, id="one", name="add"),
        CallPiece(index=None, arguments="{}"),
        CallPiece(index=None, id="two", name="add"),
    ):
        draft.add(Piece(calls=(piece,)))
    assert [(call.id, call.arguments) for call in draft.answer().calls] == [("one", "{}"), ("two", "{}")]
    nameless = Draft()
    nameless.add(Piece(calls=(CallPiece(index=0, name="add"),)))
    assert nameless.answer().calls[0].id == "call_0"


@given(
    system=st.none() | st.text(min_size=1),
    messages=st.lists(
        st.builds(Message, role=st.just("user"), text=st.text())
        | st.builds(Message, role=st.just("assistant"), text=st.text(), calls=st.lists(CALLS).map(tuple))
        | st.builds(Message, role=st.just("tool"), text=st.text(), call_id=st.text())
    ),
)
def test_a_conversation_survives_being_written(system: str | None, messages: list[Message]) -> None:
    conversation = Conversation(system=system, messages=tuple(messages))
    assert read_conversation(json.loads(json.dumps(conversation.wire()))) == conversation


def test_a_kept_conversation_is_loaded_again_and_no_other_file_is(tmp_path: Path) -> None:
    sessions = Sessions(folder=tmp_path / "chats")
    said = Conversation(system="Be brief.", messages=(Message(role="user", text="ü"),))
    path = sessions.save("first", said, "tiny")
    assert (sessions.load("first"), sessions.names()) == (said, ["first"])
    assert (path.stat().st_mode & 0o777, [*path.parent.iterdir()]) == (0o600, [path])
    with pytest.raises(AtcError, match=r"No conversation is kept in .*/second\.json"):
        sessions.load("second")
    path.write_text('{"messages": [{"role": "pilot"}]}')
    with pytest.raises(AtcError, match="holds no conversation"):
        sessions.load(str(path))
    with pytest.raises(AtcError, match="cannot be kept in"):
        sessions.save(str(path / "below.json"), said, "tiny")


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (" hello ", "hello"),
        ("/clear", Command(name="clear")),
        ("/SYSTEM  Be brief.\nAlways. ", Command(name="system", argument="Be brief.\nAlways.")),
        ("//clear is a command", "/clear is a command"),
        ("/etc/hosts holds what?", "/etc/hosts holds what?"),
        ("a /clear", "a /clear"),
    ],
)
def test_a_line_is_a_command_or_a_text(line: str, read: Command | str) -> None:
    assert read_line(line) == read


@pytest.mark.parametrize(("line", "near"), [("/hlep", "help"), ("/param", "params"), ("/exit", "quit")])
def test_an_unknown_command_is_answered_with_the_nearest(line: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"Did you mean /{near}\?"):
        read_line(line)


def test_every_command_does_something() -> None:
    assert list(_DOES) == list(COMMANDS)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("temperature", "2", 2), ("top-p", "0.5", 0.5), ("top_k", "-1", -1), ("max_tokens", "1", 1)],
)
def test_a_parameter_is_read_within_its_range(name: str, text: str, value: float) -> None:
    assert read_parameter(name, text) == (name.replace("-", "_"), value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("temperature", "2.1", "between 0 and 2"),
        ("temperature", "nan", "temperature"),
        ("temperature", "warm", "not a number"),
        ("top_p", "-0.1", "between 0 and 1"),
        ("presence_penalty", "3", "between -2 and 2"),
        ("max_tokens", "0", "less than 1"),
        ("max_tokens", "1.5", "max_tokens"),
        ("temprature", "1", "Did you mean temperature"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(name: str, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_parameter(name, text)


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("one", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\ntwo\n\nthree", "one\n\ntwo\n\n"),
        ("- a\n\n  more of a", ""),
        ("```\na\n\nb", ""),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```\n\n"),
        ("````\n```\n\nb", ""),
    ],
)
def test_a_block_is_over_after_a_blank_line_outside_of_code(text: str, over: str) -> None:
    assert text[: finished(text)] == over


def test_what_steers_a_terminal_is_taken_out() -> None:
    assert printable("a\x1b[31mb\x07\x9bc\td\ne\r") == "a[31mbc\td\ne"


SERVERS = {
    "files": {"command": "npx", "args": ["${ROOT}/x"], "env": {"TOKEN": "${TOKEN}"}, "alwaysAllow": []},
    "web": {"type": "http", "url": "http://h/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
    "off": {"command": "x", "disabled": True},
}


def test_the_file_of_other_programs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": SERVERS}))
    found = read_tool_servers(path, {"ROOT": "/r", "TOKEN": "hush"})
    assert found.servers == (
        StdioServer(name="files", command="npx", args=("/r/x",), env={"TOKEN": "hush"}),
        HttpServer(name="web", url="http://h/mcp", headers={"Authorization": "Bearer hush"}),
    )
    assert "hush" not in repr(found)
    assert [note.partition(" in ")[0] for note in found.notes] == [
        "alwaysAllow of files",
        "off is disabled",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("{}", "mcpServers: Field required"),
        ('{"mcpServers": {"a": {"args": "x"}}}', "mcpServers.a.args"),
        ('{"mcpServers": {"a": {}}}', "a command, or a url"),
        ('{"mcpServers": {"a": {"command": "x", "url": "y"}}}', "a command, or a url"),
        ('{"mcpServers": {"a": {"type": "sse", "url": "y"}}}', "SSE"),
        ('{"mcpServers": {"a": {"command": "${NOT_THERE}"}}}', "needs NOT_THERE"),
    ],
)
def test_a_file_of_servers_that_cannot_be_read_says_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)
    with pytest.raises(ToolError, match=told):
        read_tool_servers(path, {})
    with pytest.raises(ToolError, match="There is no"):
        read_tool_servers(tmp_path / "none.json", {})
