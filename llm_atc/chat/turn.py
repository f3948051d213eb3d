"""One turn of a conversation: what was said goes out, tools are called as the model asks, an answer comes."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from llm_atc.chat.conversation import Conversation, Message, ToolCall
from llm_atc.chat.parameters import Number
from llm_atc.chat.stream import Answer, Draft, Piece
from llm_atc.errors import EndpointError

ROUNDS = 16
DECLINED = "The user declined this call."


class Talker(Protocol):
    """Who answers."""

    def stream(self, body: dict[str, Any]) -> Generator[Piece, None, None]:
        """The pieces of an answer; closing the generator ends it."""


class Tools(Protocol):
    """What a model may have called."""

    def offered(self) -> list[dict[str, Any]]:
        """Each tool as a request's `tools` describes it; empty for none."""

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result as text, also when it is a failure. Blocks; KeyboardInterrupt ends the call."""


class Screen(Protocol):
    """Who watches. Every answer is `begin`, pieces, `end`; `end` comes after a failure too."""

    def begin(self) -> None: ...

    def piece(self, piece: Piece) -> None: ...

    def end(self) -> None: ...

    def approve(self, call: ToolCall) -> bool:
        """Show the call, and ask whether it may be made."""

    def result(self, call: ToolCall, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every request of a conversation says besides its messages."""

    model: str
    parameters: Mapping[str, Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The conversation after a turn, its last answer, and the calls that led there with their results."""

    conversation: Conversation
    answer: Answer
    calls: tuple[tuple[ToolCall, str], ...] = ()


def ask(
    talker: Talker, before: Conversation, text: str, setting: Setting, tools: Tools, screen: Screen
) -> Turn:
    """Say `text`, and return the turn that follows.

    Nothing is half said: after an error or KeyboardInterrupt the caller still holds the conversation as it
    was. Raises EndpointError, also when the model calls tools ROUNDS times without an answer.
    """
    conversation = before.then(Message(role="user", text=text))
    made: list[tuple[ToolCall, str]] = []
    for _ in range(ROUNDS):
        answer = _answer(talker, conversation, setting, tools, screen)
        conversation = conversation.then(Message(role="assistant", text=answer.text, calls=answer.calls))
        if not answer.calls:
            return Turn(conversation=conversation, answer=answer, calls=tuple(made))
        for call in answer.calls:
            result = _called(call, tools, screen)
            screen.result(call, result)
            made.append((call, result))
            conversation = conversation.then(Message(role="tool", text=result, call_id=call.id))
    raise EndpointError(
        f"The model called tools {ROUNDS} times in a row and gave no answer.", hint="ask for less at a time"
    )


def _answer(
    talker: Talker, conversation: Conversation, setting: Setting, tools: Tools, screen: Screen
) -> Answer:
    body: dict[str, Any] = {"model": setting.model, "messages": conversation.wire(), **setting.parameters}
    if offered := tools.offered():
        body["tools"] = offered
    draft = Draft()
    screen.begin()
    try:
        with closing(talker.stream(body)) as pieces:
            for piece in pieces:
                draft.add(piece)
                screen.piece(piece)
    finally:
        screen.end()
    return draft.answer()


def _called(call: ToolCall, tools: Tools, screen: Screen) -> str:
    try:
        arguments = json.loads(call.arguments)
    except ValueError as error:
        return f"The arguments are no JSON: {error}"
    if not isinstance(arguments, dict):
        return "The arguments are no JSON object."
    if not screen.approve(call):
        return DECLINED
    return tools.call(call.name, arguments)


class NoTools:
    """The Tools of a chat without any."""

    def offered(self) -> list[dict[str, Any]]:
        return []

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        return f"There is no tool {name}."
