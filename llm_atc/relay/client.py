"""The side that clients see: reads requests, keeps them in order, and writes answers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from llm_atc.relay import replies
from llm_atc.relay.exchange import Exchange
from llm_atc.relay.head import NO_REQUEST, Headers, Request, read_request
from llm_atc.relay.replies import Refused, Reply

if TYPE_CHECKING:
    from llm_atc.relay.server import Relay

MAX_QUEUED = 16
LINGER_SECONDS = 2.0
# What a body's framing may cost besides the body: chunks of a byte are six, extensions and trailers more.
SLACK_BYTES, SLACK_FACTOR = 64 * 1024, 32


class ClientConnection(asyncio.Protocol):
    """One connection of a client: its requests in the order they came, the first of them being worked on."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Exchange] = deque()
        self._filling: Exchange | None = None  # the request whose body is arriving
        self._target = b""
        self._headers: Headers = []
        self._in_head = False
        self._head_bytes = 0
        self._deaf = False  # nothing more is read from this client
        self._busy = False  # inside data_received
        self._held = self._paused = False
        self._waiting_since = relay.now()
        self._fresh = True
        self._leave_at: float | None = None
        self._stalled_since: float | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._relay.welcome(self):
            self.write(replies.CROWDED.encode(close=True))
            self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._deaf = True
        self._relay.farewell(self)
        for exchange in self._queue:
            exchange.cancel()
        self._queue.clear()

    def eof_received(self) -> bool:
        """A client that closed its side is gone: what it asked for is broken off."""
        self.abort()
        return False

    def pause_writing(self) -> None:
        self._stalled_since = self._relay.now()
        if self._queue and self._queue[0].engine is not None:
            self._queue[0].engine.pause(True)

    def resume_writing(self) -> None:
        self._stalled_since = None
        if self._queue and self._queue[0].engine is not None:
            self._queue[0].engine.pause(False)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._busy = True
        self._head_bytes += len(data)
        if self._filling is not None:
            self._filling.raw += len(data)
        try:
            self._parser.feed_data(data)
            if self._in_head and self._head_bytes > self._relay.config.limits.header_bytes:
                self._refuse(replies.HEADERS_TOO_LARGE)
        except httptools.HttpParserCallbackError as error:
            refused = error.__context__
            self._refuse(refused.reply if isinstance(refused, Refused) else replies.bad_request("No HTTP."))
        except httptools.HttpParserUpgrade:
            self._refuse(replies.NO_UPGRADE)
        except httptools.HttpParserError as error:
            self._refuse(replies.bad_request(f"The request is no valid HTTP/1.1: {error}."))
        self._busy = False
        self._check_framing()
        self.attend()

    def _check_framing(self) -> None:
        """A body that is mostly chunk extensions or trailers is an attack."""
        filling = self._filling
        if filling is not None and filling.raw > SLACK_BYTES + SLACK_FACTOR * filling.received:
            filling.fail(replies.TOO_LARGE)
            self._deaf = True

    # httptools

    def on_message_begin(self) -> None:
        if len(self._queue) >= MAX_QUEUED:
            raise Refused(replies.bad_request("Too many requests at once on one connection."))
        self._in_head, self._fresh = True, False
        self._target, self._headers = b"", []
        self._waiting_since = self._relay.now()

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are dropped
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        parser, limits = self._parser, self._relay.config.limits
        if sum(len(name) + len(value) + 4 for name, value in self._headers) > limits.header_bytes:
            raise Refused(replies.HEADERS_TOO_LARGE)
        if parser.should_upgrade():
            raise Refused(replies.NO_UPGRADE)
        request = read_request(parser.get_method(), self._target, self._headers, parser.get_http_version())
        exchange = self._filling = Exchange(self._relay, self, request)
        self._relay.judge(exchange, request)
        self._queue.append(exchange)
        self._say_continue(exchange, request)

    def _say_continue(self, exchange: Exchange, request: Request) -> None:
        expected = (request.get(b"expect") or b"").lower() == b"100-continue"
        if expected and exchange.reply is None and len(self._queue) == 1 and request.length != 0:
            self.write(replies.CONTINUE)

    def on_body(self, data: bytes) -> None:
        if self._filling is not None:
            self._filling.feed(data)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        if self._filling is not None:
            self._filling.finish()
            self._filling = None

    # Answers

    def attend(self) -> None:
        """Work on the first request, if it can be worked on; called whenever something may have changed."""
        while self._queue and not self._busy and self._transport is not None:
            exchange = self._queue[0]
            if exchange.reply is not None:
                self._answer(exchange, exchange.reply)
            elif exchange.startable:
                exchange.start()
            else:
                break
        self._regulate()

    def _answer(self, exchange: Exchange, reply: Reply) -> None:
        exchange.closing = exchange.closing or not exchange.complete or self._relay.draining
        self.write(reply.encode(close=exchange.closing, head_only=exchange.request.method == b"HEAD"))
        exchange.replied(reply.status)
        self.done(exchange)

    def done(self, exchange: Exchange) -> None:
        """The first request has its whole answer: go on to the next, or part."""
        if self._queue and self._queue[0] is exchange:
            self._queue.popleft()
        self._waiting_since = self._relay.now()
        self._held = False
        if exchange.closing or not exchange.complete or (self._relay.draining and not self._queue):
            self._leave()
        else:
            self.attend()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Break off at once: the client sees that something is missing."""
        self._deaf = True
        if self._transport is not None:
            self._transport.abort()

    def hold(self, held: bool) -> None:
        """Stop or go on reading, as the engine takes the request's body."""
        self._held = held
        self._regulate()

    def _regulate(self) -> None:
        """A client whose requests pile up is not read from until they have been worked on."""
        if self._transport is None or self._transport.is_closing() or self._deaf:
            return
        piled = len(self._queue) > MAX_QUEUED // 2 or (
            len(self._queue) > 1 and sum(one.raw + one.received for one in self._queue) > SLACK_BYTES
        )
        self._pause(self._held or piled)

    def _pause(self, paused: bool) -> None:
        if self._transport is None or paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _refuse(self, reply: Reply) -> None:
        """What came is refused, after the answers to what came before it; then the connection ends."""
        self._deaf = True
        filling, self._filling = self._filling, None
        if filling is not None:  # the fault is in its body
            filling.closing = True
            filling.fail(reply)
            return
        exchange = Exchange(self._relay, self, NO_REQUEST)
        exchange.reply = reply
        self._queue.append(exchange)

    def _leave(self) -> None:
        """Close, but first let the client read: a close with input unread would take the answer from it."""
        self._deaf = True
        for exchange in self._queue:
            exchange.cancel()
        self._queue.clear()
        if self._transport is None:
            return
        self._leave_at = self._relay.now() + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._pause(False)
            self._transport.write_eof()
        else:
            self._transport.close()

    # Time

    def check(self, now: float) -> None:
        """Called every so often: end what takes too long."""
        limits = self._relay.config.limits
        if self._leave_at is not None:
            patience = 0.0 if self._stalled_since is None else limits.stalled_seconds
            if now > self._leave_at + patience:
                self.abort()
        elif self._stalled_since is not None and now - self._stalled_since > limits.stalled_seconds:
            self.abort()
        elif self._queue:
            self._check_exchange(self._queue[0], now)
        elif self._in_head:
            if now - self._waiting_since > limits.header_seconds:
                self._refuse(replies.TOO_SLOW)
                self.attend()
        elif now - self._waiting_since > (
            limits.header_seconds if self._fresh else limits.idle_connection_seconds
        ):
            self._leave()

    def _check_exchange(self, exchange: Exchange, now: float) -> None:
        limits = self._relay.config.limits
        spent = now - exchange.since
        if not exchange.complete and not self._held:
            allowed = limits.body_seconds + exchange.received / limits.body_bytes_per_second
            if spent > allowed:
                exchange.fail(replies.TOO_SLOW)
        elif spent > limits.request_seconds:
            exchange.fail(replies.OVERDUE)

    def drain(self) -> None:
        """The relay ends: part as soon as nothing is being worked on."""
        if not self._queue and not self._in_head:
            self._leave()
