"""Connections to the engine: kept open between requests, opened when there is none to spare."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from llm_atc.relay.config import Address
from llm_atc.relay.head import Headers, read_answer

if TYPE_CHECKING:
    from llm_atc.relay.exchange import Exchange

MAX_HEAD = 256 * 1024
MAX_IDLE = 256


class EngineConnection(asyncio.Protocol):
    """One connection to the engine, for one exchange at a time; `served` counts those it finished.

    The engine was promised a body by the request's head: `_owed` is what it has not been sent of it.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._reason = b""
        self._in_head = True
        self._interim = False
        self._head_bytes = 0
        self._finished = False
        self._reusable = False
        self._owed = 0
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.served = 0

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def begin(self, exchange: Exchange, data: bytes, *, owed: int) -> None:
        """Send the head and what is there of the body; `owed` is how much of it is still to be written."""
        self.exchange = exchange
        self._finished, self._in_head, self._interim, self._head_bytes = False, True, False, 0
        self._owed = owed
        self.pause(exchange.client.stalled)
        self.write(data, 0)

    def write(self, data: bytes, paid: int) -> None:
        """Send more of the body: `paid` less of it is owed then."""
        self._owed -= paid
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def abandon(self) -> None:
        """Break off: the engine sees its client go away."""
        self.exchange = None
        if self.transport is not None:
            self.transport.abort()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the answer, as fast as the client takes it."""
        if self.transport is None or self.transport.is_closing():
            return
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            stale = self.served > 0 and self._head_bytes == 0
            exchange.engine_gone(stale=stale, broken=exc is not None)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client.hold(True)

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client.hold(False)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # nothing was asked: whatever this is, it is nobody's answer
            self.abandon()
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            sound = not (self._in_head and self._head_bytes > MAX_HEAD)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
            sound = False
        if not sound and not self._finished:
            self.abandon()
            exchange.engine_garbled()
            return
        if self._finished:
            self._release(sound)
        exchange.flush(finished=self._finished)

    def _release(self, sound: bool) -> None:
        """The answer is whole: free for the next exchange, unless something is owed or left to read."""
        self.exchange = None
        self.served += 1
        if sound and self._reusable and self._owed == 0 and self.usable:
            self._pool.keep(self)
        elif self.transport is not None:
            self.transport.abort()

    # httptools

    def on_message_begin(self) -> None:
        if self._finished:
            raise ValueError("more than one answer")
        self._headers, self._reason = [], b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200
        if self._interim:
            return
        self._in_head = False
        if self.exchange is not None:
            self.exchange.answered(read_answer(status, self._reason, self._headers))

    def on_body(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.pieces.append(data)

    def on_message_complete(self) -> None:
        if not self._interim:
            self._finished = True
            self._reusable = self._parser.should_keep_alive()


class Pool:
    """The engine's connections. The one used last is taken first, so that spare ones grow old and close."""

    def __init__(self, address: Address, connect_seconds: float) -> None:
        self.address = address
        self._connect_seconds = connect_seconds
        self._idle: list[EngineConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def spare(self) -> EngineConnection | None:
        """A connection that is open and free; None when there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def connect(self, exchange: Exchange) -> None:
        """Open a connection for this exchange, and tell it."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: EngineConnection(self), self.address.host, self.address.port
                )
        except OSError:  # TimeoutError is one
            exchange.engine_unreachable()
            return
        if exchange.over:
            self.keep(connection)
        else:
            exchange.connected(connection)

    def keep(self, connection: EngineConnection) -> None:
        if len(self._idle) >= MAX_IDLE:
            connection.abandon()
        else:
            self._idle.append(connection)

    def forget(self, connection: EngineConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what is free, and stop opening more."""
        for task in self._tasks:
            task.cancel()
        for connection in list(self._idle):
            connection.abandon()
        self._idle.clear()
