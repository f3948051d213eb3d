"""The relay itself: listens, judges requests, watches the engine, and ends in good order."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from llm_atc.relay import replies
from llm_atc.relay.client import ClientConnection
from llm_atc.relay.config import Config
from llm_atc.relay.engine import Pool
from llm_atc.relay.exchange import Exchange
from llm_atc.relay.head import Request
from llm_atc.relay.keys import Keyring
from llm_atc.relay.metrics import Metrics
from llm_atc.relay.probe import Asker, Probe
from llm_atc.relay.replies import Reply
from llm_atc.relay.routes import Route, Use, find

SWEEP_SECONDS = 0.5
BACKLOG = 1024


class Relay:
    """One relay in front of one engine. Make it inside a running event loop; `run` returns when it has ended.

    `metrics.idle_seconds` and `metrics.working` tell how it is used; `stop()` ends it, also twice.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.now = asyncio.get_running_loop().time
        self.metrics = Metrics(self.now)
        self.pool = Pool(config.upstream, config.limits.connect_seconds)
        self.host = str(config.upstream).encode()
        key = config.upstream_key
        self.authorization = None if key is None else b"Bearer " + key.reveal().encode()
        self.draining = False
        self.port = config.listen.port
        self._keyring = Keyring(config.keys)
        self._clients: set[ClientConnection] = set()
        self._stopping = asyncio.Event()
        self._listening = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop()`, or until it was idle for as long as `idle_exit` says; then drain."""
        loop = asyncio.get_running_loop()
        listen, tls, limits = self.config.listen, self.config.tls, self.config.limits
        server = await loop.create_server(
            lambda: ClientConnection(self),
            listen.host,
            listen.port,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=limits.header_seconds if tls else None,
            ssl_shutdown_timeout=limits.stalled_seconds if tls else None,
        )
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        probe = Probe(Asker(self.config.upstream, self.config.upstream_key), self._heard)
        watching = loop.create_task(probe.watch())
        try:
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), SWEEP_SECONDS)
                self._sweep()
            server.close()
            await self._drain()
        finally:
            watching.cancel()
            self.pool.close()
            server.close()

    async def listening(self) -> int:
        """Wait until the port is open; its number, which the system chose when 0 was asked for."""
        await self._listening.wait()
        return self.port

    def stop(self) -> None:
        """Take nothing new, let what is being worked on end, and return from `run`."""
        self._stopping.set()

    def _heard(self, works: bool) -> None:
        if works:
            self.metrics.became_ready()
        else:
            self.metrics.went_away()

    def _sweep(self) -> None:
        now = self.now()
        for client in list(self._clients):
            client.check(now)
        after = self.config.idle_exit
        if after is not None and self.metrics.idle_seconds >= after:
            self.stop()

    async def _drain(self) -> None:
        self.draining = True
        deadline = self.now() + self.config.limits.drain_seconds
        for client in list(self._clients):
            client.drain()
        while self._clients and self.now() < deadline:
            await asyncio.sleep(0.05)
            self._sweep()
        for client in list(self._clients):
            client.abort()
        await asyncio.sleep(0)

    # What connections ask

    def welcome(self, client: ClientConnection) -> bool:
        """Whether there is room for one more connection."""
        self._clients.add(client)
        self.metrics.connections = len(self._clients)
        return len(self._clients) <= self.config.limits.connections

    def farewell(self, client: ClientConnection) -> None:
        self._clients.discard(client)
        self.metrics.connections = len(self._clients)

    def judge(self, exchange: Exchange, request: Request) -> None:
        """Let it pass, or give it a reply."""
        route = exchange.route = find(request.path)
        exchange.reply = self._reply(route, request)
        if exchange.reply is None and route is not None:
            exchange.admit(route)

    def _reply(self, route: Route | None, request: Request) -> Reply | None:
        """What the relay answers itself; None for what is forwarded. Without a key all that shows is 401."""
        if route is not None and route.use is Use.HEALTH and request.method in route.methods:
            return self._health()
        if not self._keyring.opens(request.get(b"authorization"), request.get(b"x-api-key")):
            return replies.NO_KEY
        if route is None:
            return replies.NOT_FOUND
        if request.method not in route.methods:
            return replies.wrong_method(route.methods)
        if route.use is Use.OWN:
            return self._own(route)
        return self._overload(request)

    def _overload(self, request: Request) -> Reply | None:
        limits = self.config.limits
        if request.length is not None and request.length > limits.body_bytes:
            return replies.TOO_LARGE
        if self.draining:
            return replies.DRAINING
        return replies.BUSY if self.metrics.in_flight >= limits.concurrent else None

    def _health(self) -> Reply:
        if self.draining:
            return replies.DRAINING
        return Reply(200, b'{"status":"ready"}') if self.metrics.ready else replies.STARTING

    def _own(self, route: Route) -> Reply:
        if route.label == "/relay/metrics":
            return Reply(
                200, self.metrics.text().encode(), content_type="text/plain; version=0.0.4; charset=utf-8"
            )
        status = {
            "ready": self.metrics.ready,
            "in_flight": self.metrics.working,
            "idle_seconds": round(self.metrics.idle_seconds, 3),
            "idle_exit": self.config.idle_exit,
        }
        return Reply(200, json.dumps(status | self._notes()).encode())

    def _notes(self) -> dict[str, object]:
        """What the program that keeps the engine has put down, where there is one."""
        if self.config.notes is None:
            return {}
        with suppress(OSError, ValueError):
            return {"keeper": json.loads(self.config.notes.read_text())}
        return {"keeper": None}
