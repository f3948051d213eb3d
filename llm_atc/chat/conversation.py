"""What was said so far, as values; and the same as the OpenAI chat format writes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to have a tool called; `arguments` is the JSON text that it wrote, right or wrong."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing that was said. `calls` are an assistant's, `call_id` is what a tool's result answers."""

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A system text, and what was said after it."""

    system: str | None = None
    messages: tuple[Message, ...] = ()

    def then(self, *messages: Message) -> Conversation:
        """The conversation, longer by these."""
        return replace(self, messages=(*self.messages, *messages))

    def wire(self) -> list[dict[str, Any]]:
        """As `messages` of a request."""
        first = [Message(role="system", text=self.system)] if self.system else []
        return [write_message(message) for message in (*first, *self.messages)]


def read_conversation(messages: object) -> Conversation:
    """The conversation that `wire` wrote. ValueError, saying what, when it is none."""
    if not isinstance(messages, list):
        raise ValueError("messages is no list")
    read = tuple(read_message(message) for message in messages)
    if read and read[0].role == "system":
        return Conversation(system=read[0].text, messages=read[1:])
    return Conversation(messages=read)


def write_message(message: Message) -> dict[str, Any]:
    """The message as JSON values."""
    written: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.call_id is not None:
        written["tool_call_id"] = message.call_id
    return written


def read_message(message: object) -> Message:
    """The message that JSON values say. ValueError when they say none."""
    if not isinstance(message, Mapping) or message.get("role") not in get_args(Role):
        raise ValueError("a message has no role that is known")
    text = message.get("content") or ""
    call_id = message.get("tool_call_id")
    if not isinstance(text, str) or not isinstance(call_id, str | None):
        raise ValueError("a message's content is no text")
    calls = message.get("tool_calls") or ()
    try:
        read = tuple(
            ToolCall(
                id=str(call["id"]),
                name=str(call["function"]["name"]),
                arguments=str(call["function"]["arguments"]),
            )
            for call in calls
        )
    except (TypeError, KeyError) as error:
        raise ValueError("a message's tool_calls cannot be read") from error
    return Message(role=message["role"], text=text, calls=read, call_id=call_id)
