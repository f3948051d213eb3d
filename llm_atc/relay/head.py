"""Heads of requests and answers: what is refused, what is left out, and how they are written anew.

Nothing of a client's head is passed on as it came: it is read, judged, and written again, so that the engine
cannot read it differently (RFC 9112, section 11.2). The parser refuses folded lines, stray control bytes and
bare line feeds already.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from llm_atc.relay.replies import Refused, bad_request

Headers = list[tuple[bytes, bytes]]

_TARGET = re.compile(rb"/[!-~]*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
# Said by the relay itself, or not the engine's business.
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"authorization", b"x-api-key", b"content-length", b"expect"}
_BODILESS = frozenset({b"GET", b"HEAD", b"DELETE"})
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key"})


@dataclass(slots=True)
class Request:
    """A request's head that was found sound. Header names are in lower case; `length` is None if chunked."""

    method: bytes
    target: bytes
    path: bytes
    headers: Headers
    known: dict[bytes, bytes]
    http11: bool
    keep_alive: bool
    length: int | None

    def get(self, name: bytes) -> bytes | None:
        return self.known.get(name)


NO_REQUEST = Request(b"", b"", b"", [], {}, http11=True, keep_alive=False, length=0)


def read_request(method: bytes, target: bytes, headers: Headers, version: str) -> Request:
    """The head as a value. Raises Refused for anything that two parsers might read in two ways."""
    if version not in ("1.1", "1.0"):
        raise Refused(bad_request("The protocol is not HTTP/1.1."))
    if not _TARGET.fullmatch(target) or b"#" in target:
        raise Refused(bad_request("The request's target is not a path."))
    known: dict[bytes, bytes] = {}
    lowered: Headers = []
    for name, value in headers:
        name = name.lower()
        if name in _SINGLE and name in known:
            raise Refused(bad_request(f"The header {name.decode('latin-1')} came twice."))
        known[name] = value
        lowered.append((name, value))
    http11 = version == "1.1"
    if http11 and b"host" not in known:
        raise Refused(bad_request("The header host is missing."))
    length = _length(known, http11)
    if length != 0 and method in _BODILESS:  # some engines read it, others take it for the next request
        raise Refused(bad_request("A request with this method has no body."))
    connection = _words(lowered)
    keep_alive = http11 and b"close" not in connection
    return Request(
        method,
        target,
        target.partition(b"?")[0],
        _without(lowered, _NOT_FORWARDED, connection),
        known,
        http11,
        keep_alive,
        length,
    )


def _words(headers: Headers) -> frozenset[bytes]:
    """The options and header names that the Connection headers list."""
    listed = [value for name, value in headers if name == b"connection"]
    return frozenset(word.strip().lower() for value in listed for word in value.split(b","))


def _without(headers: Headers, names: Collection[bytes], listed: Collection[bytes]) -> Headers:
    return [pair for pair in headers if pair[0] not in names and pair[0] not in listed]


def _length(known: dict[bytes, bytes], http11: bool) -> int | None:
    """How long the body is; None for a chunked one, 0 where there is none."""
    coding, length = known.get(b"transfer-encoding"), known.get(b"content-length")
    if coding is not None:
        if length is not None or not http11 or coding.strip().lower() != b"chunked":
            raise Refused(bad_request("The body's length is said in a way that is not accepted."))
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Refused(bad_request("The header content-length is no number."))
    return int(length)


def write_request(request: Request, host: bytes, authorization: bytes | None, length: int | None) -> bytes:
    """The head for the engine; `length` is the body's, None to send it chunked."""
    lines = [b"%b %b HTTP/1.1\r\nhost: %b" % (request.method, request.target, host)]
    lines += [b"%b: %b" % pair for pair in request.headers]
    if authorization is not None:
        lines.append(b"authorization: " + authorization)
    if length is None:
        lines.append(b"transfer-encoding: chunked")
    elif length or request.method == b"POST":
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass(slots=True)
class Answer:
    """The head of the engine's answer. `length` is None where the engine said none."""

    status: int
    reason: bytes
    headers: Headers
    length: int | None
    chunked: bool

    @property
    def bodiless(self) -> bool:
        return self.status in (204, 304)

    @property
    def until_close(self) -> bool:
        """Whether only the end of the connection ends the body."""
        return self.length is None and not self.chunked and not self.bodiless


def read_answer(status: int, reason: bytes, headers: Headers) -> Answer:
    """The answer's head as a value, without the headers that are for one connection only."""
    lowered = [(name.lower(), value) for name, value in headers]
    length, chunked = None, False
    for name, value in lowered:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
    listed = _words(lowered)
    kept = _without(lowered, _HOP_BY_HOP, listed - {b"content-length", b"content-type"})
    return Answer(status, reason, [pair for pair in kept if pair[0] != b"content-length"], length, chunked)


def write_answer(answer: Answer, *, length: int | None, chunked: bool, close: bool) -> bytes:
    """The head for the client."""
    lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.reason)]
    lines += [b"%b: %b" % pair for pair in answer.headers]
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    elif length is not None:
        lines.append(b"content-length: %d" % length)
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
