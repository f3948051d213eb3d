"""Lines of a batch: requests as they are written down, in OpenAI's form or plainly."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from llm_atc.errors import BatchError

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_GENERATING = (CHAT, COMPLETIONS)
_URL = re.compile(r"/v1/[\w/.-]+", re.ASCII)
_FORMS = (
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {…}}, {"messages": […]}, '
    '{"prompt": "…"} or "…"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a request gets that names none: a model, a system message, and parameters by the API's names."""

    model: str | None = None
    system: str | None = None
    parameters: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """One request: `url` is a path below the endpoint, `body` what is posted to it."""

    custom_id: str
    url: str
    body: Mapping[str, object]


def read_requests(lines: Iterable[bytes], defaults: Defaults) -> Iterator[BatchRequest]:
    """Each line's request, in order; empty lines count and mean nothing.

    A plain line gets an id made of its number and content: a line that was changed is another request.
    Raises BatchError, naming the line, for one that is no request and for an id that came before.
    """
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        request = _read(number, line, defaults)
        if request.custom_id in seen:
            raise _wrong(number, f"the custom_id {request.custom_id!r} stands in a line before it too")
        seen.add(request.custom_id)
        yield request


def _read(number: int, line: bytes, defaults: Defaults) -> BatchRequest:
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:
        raise _wrong(number, "it is no JSON") from error
    if isinstance(found, str):
        found = {"messages": [{"role": "user", "content": found}]}
    if not isinstance(found, dict):
        raise _wrong(number, "it is neither an object nor a text")
    named = found.pop("custom_id", None)
    if named is not None and (not isinstance(named, str) or not named):
        raise _wrong(number, "its custom_id is no text")
    if "body" in found or "url" in found:
        url, body = _openai(number, named, found)
    else:
        url, body = _plain(number, found)
    if body.get("stream"):
        raise _wrong(number, "it asks for a stream, and an answer of a batch is whole")
    custom_id = named or f"line-{number}-{zlib.crc32(line.strip()):08x}"
    return BatchRequest(custom_id=custom_id, url=url, body=_completed(number, url, body, defaults))


def _openai(number: int, named: str | None, found: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    url, body = found.get("url"), found.get("body")
    if named is None:
        raise _wrong(number, "it has no custom_id")
    if found.get("method", "POST") != "POST":
        raise _wrong(number, f"its method is {found['method']!r}, and only POST asks a model")
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise _wrong(number, f"its url is {url!r}, and not a path such as {CHAT}")
    if not isinstance(body, dict):
        raise _wrong(number, "its body is no object")
    return url, body


def _plain(number: int, body: dict[str, object]) -> tuple[str, dict[str, object]]:
    if ("prompt" in body) is ("messages" in body):
        raise _wrong(number, "it needs either a prompt or messages")
    return (COMPLETIONS if "prompt" in body else CHAT), body


def _completed(number: int, url: str, body: dict[str, object], defaults: Defaults) -> Mapping[str, object]:
    full: dict[str, object] = ({"model": defaults.model} if defaults.model else {}) | body
    if url not in _GENERATING:
        return full
    for name, value in (defaults.parameters or {}).items():
        if name != "max_tokens" or "max_completion_tokens" not in body:
            full.setdefault(name, value)
    if defaults.system is None:
        return full
    messages = full.get("messages")
    if not isinstance(messages, list):
        raise _wrong(number, "--system is for messages, and this line has none")
    if not any(isinstance(one, dict) and one.get("role") in ("system", "developer") for one in messages):
        full["messages"] = [{"role": "system", "content": defaults.system}, *messages]
    return full


def _wrong(number: int, why: str) -> BatchError:
    return BatchError(f"Line {number} of the input cannot be asked: {why}.", hint=f"a line is {_FORMS}")
