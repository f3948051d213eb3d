"""What the relay says itself, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
from dataclasses import dataclass

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the relay's own."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    def encode(self, *, close: bool, head_only: bool = False) -> bytes:
        """The bytes to send. `close` tells the client that the connection ends after them."""
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            f"content-type: {self.content_type}",
            f"content-length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if close:
            lines.append("connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return head if head_only else head + self.body


class Refused(Exception):
    """A request that goes no further; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def refusal(status: int, kind: str, code: str, message: str, *headers: tuple[str, str]) -> Reply:
    """A reply in the shape of OpenAI's errors, which every client of theirs understands."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Reply(status, json.dumps({"error": error}).encode(), headers)


def bad_request(why: str) -> Reply:
    return refusal(400, "invalid_request_error", "bad_request", why)


_INVALID, _SERVER = "invalid_request_error", "server_error"
NO_KEY = refusal(
    401,
    "authentication_error",
    "invalid_api_key",
    "No valid API key: send it as Authorization: Bearer KEY.",
    ("www-authenticate", "Bearer"),
)
NOT_FOUND = refusal(404, _INVALID, "not_found", "There is no such route here.")
TOO_SLOW = refusal(408, _INVALID, "request_timeout", "The request did not arrive in time.")
TOO_LARGE = refusal(413, _INVALID, "request_too_large", "The request's body is too large.")
HEADERS_TOO_LARGE = refusal(431, _INVALID, "headers_too_large", "The request's headers are too large.")
NO_UPGRADE = refusal(501, _INVALID, "no_upgrade", "Connections are not upgraded here: speak HTTP/1.1.")
BUSY = refusal(
    429,
    "rate_limit_error",
    "too_many_requests",
    "Too many requests are being worked on: try again.",
    ("retry-after", "1"),
)
CROWDED = refusal(503, _SERVER, "too_many_connections", "Too many connections.", ("retry-after", "1"))
DRAINING = refusal(503, _SERVER, "shutting_down", "The endpoint is shutting down.", ("retry-after", "5"))
STARTING = refusal(503, _SERVER, "not_ready", "The model is not ready yet.", ("retry-after", "5"))
UNREACHABLE = refusal(502, _SERVER, "engine_unreachable", "The engine does not accept connections.")
BROKEN = refusal(502, _SERVER, "engine_broke_off", "The engine broke off before it answered.")
GARBLED = refusal(502, _SERVER, "engine_garbled", "The engine's answer is no HTTP.")
OVERDUE = refusal(504, _SERVER, "engine_timeout", "The engine did not answer in time.")


def wrong_method(allowed: tuple[bytes, ...]) -> Reply:
    names = b", ".join(allowed).decode()
    return refusal(405, _INVALID, "method_not_allowed", f"This route takes {names}.", ("allow", names))
