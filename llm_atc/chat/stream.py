"""A streamed answer, from bytes to what they add to it. Pure.

The events are those of https://html.spec.whatwg.org/multipage/server-sent-events.html, and what they hold is
a `chat.completion.chunk` of the OpenAI API.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_atc.chat.conversation import ToolCall

DONE = "[DONE]"
_LINE_END = re.compile(r"\r\n|\r|\n")


class StreamError(ValueError):
    """The server said, within its stream, that it failed; or what it sent is no answer."""


class EventReader:
    """Bytes, however they are cut, to the data of each event."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[str]:
        """The data of every event that is whole now."""
        text = self._rest + self._decoder.decode(data)
        # A CR at the very end may be half of a CR LF: it waits for what follows.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text.removesuffix(held) if held else text)
        self._rest = rest + held
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> str | None:
        if not line:
            found, self._data = self._data, []
            return "\n".join(found) if found else None
        name, _, value = line.partition(":")
        if name in ("data", "error"):  # llama-server calls a failure's field `error`
            self._data.append(value.removeprefix(" "))
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPiece:
    """A part of a tool call: which one it belongs to, and what it adds. `index` is None where none came."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one event adds to an answer. `usage` counts tokens by OpenAI's names."""

    text: str = ""
    thought: str = ""
    calls: tuple[CallPiece, ...] = ()
    finish: str | None = None
    usage: Mapping[str, int] | None = None


def read_piece(data: str) -> Piece:
    """The piece that an event's data holds. StreamError when it tells of a failure, or of nothing."""
    try:
        event = json.loads(data)
    except ValueError as error:
        raise StreamError(f"what came is no JSON: {data[:80]}") from error
    if not isinstance(event, dict):
        raise StreamError(f"what came is no answer: {data[:80]}")
    if event.get("error") or ("choices" not in event and "message" in event):
        raise StreamError(failure_text(event))
    try:
        return _piece(event)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StreamError(f"what came is no answer: {data[:80]}") from error


def failure_text(body: object) -> str:
    """What a server says of a failure, in whichever of the usual forms; empty when it says nothing."""
    while isinstance(body, Mapping):
        body = next((body[key] for key in ("error", "message", "detail") if body.get(key)), "")
    return " ".join(body.split()) if isinstance(body, str) else ""


def _piece(event: dict[str, Any]) -> Piece:
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    usage = event.get("usage")
    return Piece(
        text=delta.get("content") or "",
        thought=delta.get("reasoning_content") or delta.get("reasoning") or "",
        calls=tuple(_call(call) for call in delta.get("tool_calls") or ()),
        finish=choices[0].get("finish_reason"),
        usage={name: count for name, count in usage.items() if isinstance(count, int)} if usage else None,
    )


def _call(call: dict[str, Any]) -> CallPiece:
    function = call.get("function") or {}
    return CallPiece(
        index=call.get("index"),
        id=call.get("id") or "",
        name=function.get("name") or "",
        arguments=function.get("arguments") or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    text: str
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    usage: Mapping[str, int] | None = None


@dataclass(slots=True)
class _Call:
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Draft:
    """An answer that grows."""

    text: str = ""
    thought: str = ""
    finish: str | None = None
    usage: Mapping[str, int] | None = None
    _calls: list[_Call] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Grow by this piece."""
        self.text += piece.text
        self.thought += piece.thought
        self.finish = piece.finish or self.finish
        self.usage = piece.usage or self.usage
        for part in piece.calls:
            call = self._call_of(part)
            call.id = call.id or part.id
            call.name = call.name or part.name
            call.arguments += part.arguments

    def _call_of(self, part: CallPiece) -> _Call:
        for call in self._calls:
            if part.index is not None and call.index == part.index:
                return call
        if part.index is None and self._calls and part.id in ("", self._calls[-1].id):
            return self._calls[-1]
        begun = _Call(index=len(self._calls) if part.index is None else part.index)
        self._calls.append(begun)
        return begun

    def answer(self) -> Answer:
        """The answer as far as it came. A call without an id gets one."""
        return Answer(
            text=self.text,
            thought=self.thought,
            calls=tuple(
                ToolCall(id=call.id or f"call_{call.index}", name=call.name, arguments=call.arguments or "{}")
                for call in sorted(self._calls, key=lambda call: call.index)
            ),
            finish=self.finish,
            usage=self.usage,
        )
