"""From a client's bytes to requests: the parser, and what may be said too long or too strangely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from llm_atc.relay import replies
from llm_atc.relay.head import Headers, read_request
from llm_atc.relay.replies import Refused, Reply

if TYPE_CHECKING:
    from llm_atc.relay.client import ClientConnection
    from llm_atc.relay.exchange import Exchange

# What a body's framing may cost besides the body: chunks of a byte are six, extensions and trailers more.
SLACK_BYTES, SLACK_FACTOR = 64 * 1024, 32
# Of a head besides method, target and headers: two spaces, the protocol, and the ends of first and last line.
LINE_BYTES = len("  HTTP/1.1\r\n\r\n")


class RequestReader:
    """Feeds one client's requests to it. `filling` is the exchange whose body is arriving."""

    def __init__(self, client: ClientConnection, header_bytes: int) -> None:
        self._client = client
        self._header_bytes = header_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []
        self._head_bytes = 0
        self.in_head = False
        self.filling: Exchange | None = None

    def feed(self, data: bytes) -> Reply | None:
        """Read on. A reply refuses what came: nothing may be fed after it."""
        self._head_bytes += len(data)
        if self.filling is not None:
            self.filling.raw += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            refused = error.__context__
            if isinstance(refused, Refused):
                return refused.reply
            raise
        except httptools.HttpParserUpgrade:
            return replies.NO_UPGRADE
        except httptools.HttpParserError as error:
            return replies.bad_request(f"The request is no valid HTTP/1.1: {error}.")
        if self.in_head and self._head_bytes > self._header_bytes:
            return replies.HEADERS_TOO_LARGE
        filling = self.filling
        if filling is not None and filling.raw > SLACK_BYTES + SLACK_FACTOR * filling.received:
            return replies.TOO_LARGE
        return None

    # httptools

    def on_message_begin(self) -> None:
        self._client.begins()
        self.in_head = True
        self._target, self._headers = b"", []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # trailers are dropped
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head, self._head_bytes = False, 0
        parser = self._parser
        method = parser.get_method()
        size = len(method) + len(self._target) + LINE_BYTES
        if size + sum(len(name) + len(value) + 4 for name, value in self._headers) > self._header_bytes:
            raise Refused(replies.HEADERS_TOO_LARGE)
        if parser.should_upgrade():
            raise Refused(replies.NO_UPGRADE)
        request = read_request(method, self._target, self._headers, parser.get_http_version())
        self.filling = self._client.arrived(request)

    def on_body(self, data: bytes) -> None:
        if self.filling is not None:
            self.filling.feed(data)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        if self.filling is not None:
            self.filling.finish()
            self.filling = None
