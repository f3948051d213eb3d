"""The side that clients see: reads requests, keeps them in order, and writes answers."""

from __future__ import annotations

import asyncio
import select
import struct
from collections import deque
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, cast

from llm_atc.relay import replies
from llm_atc.relay.exchange import Exchange
from llm_atc.relay.head import NO_REQUEST, Request
from llm_atc.relay.reader import RequestReader
from llm_atc.relay.replies import Refused, Reply

if TYPE_CHECKING:
    from llm_atc.relay.server import Relay

MAX_QUEUED = 16
LINGER_SECONDS = 2.0
PILED_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # a socket's linger: on, for no time


class ClientConnection(asyncio.Protocol):
    """One connection of a client: its requests in the order they came, the first of them being worked on."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._reader = RequestReader(self, relay.config.limits.header_bytes)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Exchange] = deque()
        self._deaf = False  # nothing more is read from this client
        self._busy = False  # inside data_received
        self._held = self._paused = False
        self._waiting_since = relay.now()
        self._fresh = True
        self._leaving_since: float | None = None
        self._leave_at = 0.0
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

    @property
    def stalled(self) -> bool:
        """Whether the client takes nothing at the moment."""
        return self._stalled_since is not None

    def resume_writing(self) -> None:
        self._stalled_since = None
        if self._queue and self._queue[0].engine is not None:
            self._queue[0].engine.pause(False)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._busy = True
        refused = self._reader.feed(data)
        if refused is not None:
            self._refuse(refused)
        self._busy = False
        self.attend()

    # What the reader tells

    def begins(self) -> None:
        """A request begins. Raises Refused when too many wait already."""
        if len(self._queue) >= MAX_QUEUED:
            raise Refused(replies.bad_request("Too many requests at once on one connection."))
        self._fresh = False
        self._waiting_since = self._relay.now()

    def arrived(self, request: Request) -> Exchange:
        """A head is there, and sound: take its place in the queue."""
        exchange = Exchange(self._relay, self, request)
        self._relay.judge(exchange, request)
        self._queue.append(exchange)
        expected = (request.get(b"expect") or b"").lower() == b"100-continue"
        if expected and exchange.reply is None and len(self._queue) == 1 and request.length != 0:
            self.write(replies.CONTINUE)
        return exchange

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
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self, *, reset: bool = False) -> None:
        """Break off at once: the client sees that something is missing, if need be by a reset."""
        self._deaf = True
        if self._transport is not None:
            if reset and not self._transport.is_closing():
                self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
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
            len(self._queue) > 1 and sum(one.raw + one.received for one in self._queue) > PILED_BYTES
        )
        self._pause(self._held or piled)

    def _pause(self, paused: bool) -> None:
        if self._transport is None or self._transport.is_closing() or paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _refuse(self, reply: Reply) -> None:
        """What came is refused, after the answers to what came before it; then the connection ends."""
        self._deaf = True
        filling, self._reader.filling = self._reader.filling, None
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
        if self._transport is None or self._transport.is_closing():
            return
        self._leaving_since = self._relay.now()
        self._leave_at = self._leaving_since + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._pause(False)
            self._transport.write_eof()
        else:
            self._transport.close()

    # Time

    def check(self, now: float) -> None:
        """Called every so often: end what takes too long."""
        limits = self._relay.config.limits
        if self._leaving_since is not None:
            self._check_leaving(now, self._leaving_since)
        elif self._stalled_since is not None and now - self._stalled_since > limits.stalled_seconds:
            self.abort()
        elif self._queue:
            self._check_exchange(self._queue[0], now)
        elif self._reader.in_head:
            if now - self._waiting_since > limits.header_seconds:
                self._refuse(replies.TOO_SLOW)
                self.attend()
        elif now - self._waiting_since > (
            limits.header_seconds if self._fresh else limits.idle_connection_seconds
        ):
            self._leave()

    def _check_leaving(self, now: float, since: float) -> None:
        """The client has the patience for the stalled until all is sent, then a little time to read it."""
        if self._full:
            self._leave_at = now + LINGER_SECONDS
            overdue = now - since > self._relay.config.limits.stalled_seconds
        else:
            overdue = now > self._leave_at
        if overdue:
            self.abort()

    @property
    def _full(self) -> bool:
        """Whether the socket takes no more: what waits for it encrypted, a transport does not tell."""
        bare = None if self._transport is None else self._transport.get_extra_info("socket")
        if bare is None or bare.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(bare, select.POLLOUT)
        return not poll.poll(0)

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
        if not self._queue and not self._reader.in_head:
            self._leave()
