"""A relay in front of a small engine of the tests' own, both on loopback and in this process."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from llm_atc.access import Secret
from llm_atc.relay.client import RESET
from llm_atc.relay.config import Address, Config, Limits
from llm_atc.relay.server import Relay

KEY, OTHER_KEY = "sk-atc-the-relays-key", "sk-atc-another-key"
HELLO = [{"role": "user", "content": "Hello"}]
ANYWHERE = Address(host="127.0.0.1", port=0)
LONG = b"x" * 60_000  # more than small sockets hold, less than what makes a transport call itself full
LAST_WORDS = {
    "long": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(LONG), LONG),
    "silent": b"",
    "garble": b"SSH-2.0-OpenSSH_9.2\r\n",
    "cut": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
    "half_head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "until_close": b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end",
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@dataclass
class Heard:
    """A request as the engine read it, byte for byte."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        found = [value for one, value in self.headers if one == name]
        return ", ".join(found) if found else None


@dataclass
class Engine:
    """An HTTP server with the good and bad habits of engines; a request's body says which it shows.

    `{"act": …}`: "stream" (a piece whenever the test says so), "fail", "hang", "cut" (its body is too short),
    "silent" (closes without an answer), "half_head", "garble", "until_close", "reset" (breaks such an answer
    off when the test says so), "tired" (answers, and closes soon after although it says keep-alive, as
    llama-server does), "long", "large". The header `x-act`: "early" (answers before the body is there),
    "ahead" (begins its answer, ends it when the test says so, then reads the body).
    """

    heard: list[Heard] = field(default_factory=list)
    healthy: bool = True
    generates: bool = True
    broken_off: int = 0
    connections: int = 0
    chunks: int = 5
    port: int = 0
    events: dict[str, asyncio.Event] = field(default_factory=dict)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while (heard := await self._read(reader, writer)) is not None:
                if not await self._answer(heard, reader, writer):
                    break
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()
        self.writers.remove(writer)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Heard | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head[:-4].split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)]
        heard = Heard(method, target, headers, b"")
        if heard.get("x-act") == "early":
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nearly")
            self.heard.append(heard)
            while await reader.read(65536):
                pass
            return None
        ahead = heard.get("x-act") == "ahead"
        if ahead:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nahead\r\n")
            await self.event("ahead").wait()
            writer.write(b"0\r\n\r\n")
        if heard.get("transfer-encoding") == "chunked":
            heard.body = await self._chunks(reader)
        else:
            heard.body = await reader.readexactly(int(heard.get("content-length") or 0))
        self.heard.append(heard)
        return await self._read(reader, writer) if ahead else heard

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readline() == b"\r\n"
        return body

    async def _answer(self, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        path = heard.target.partition("?")[0]
        if path == "/health":
            return self._say(writer, 200 if self.healthy else 503, {})
        if path == "/v1/models":
            return self._say(writer, 200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        if path == "/metrics":
            return self._say(writer, 200, {"engine": "metrics"})
        if not self.generates:
            return self._say(writer, 500, {"error": {"message": "EngineDeadError"}})
        try:
            asked = json.loads(heard.body or b"{}")
        except ValueError:
            return self._say(writer, 400, {"error": {"message": "no JSON"}})
        act = asked.get("act") if isinstance(asked, dict) else None
        if isinstance(asked, dict) and asked.get("stream"):
            act = act or "stream"
        return await self._act(act, path, reader, writer)

    async def _act(
        self, act: str | None, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if act == "stream":
            return await self._stream(reader, writer)
        if act == "hang":
            return await self._hang(reader, writer)
        if act == "fail":
            return self._say(writer, 422, {"error": {"message": "the engine's own words"}})
        if act in LAST_WORDS:
            writer.write(LAST_WORDS[act])
            return False
        if act == "tired":
            self._say(writer, 200, answer(path))
            await writer.drain()
            await self.event("tired").wait()
            return False
        if act == "reset":
            return await self._reset(writer)
        if act == "large":
            return await self._large(writer)
        return self._say(writer, 200, answer(path))

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        gone = asyncio.ensure_future(reader.read(1))
        for number in range(self.chunks):
            data = f"data: {json.dumps(piece(number))}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            step = asyncio.ensure_future(self.event(f"chunk {number + 1}").wait())
            await asyncio.wait({gone, step}, return_when=asyncio.FIRST_COMPLETED)
            step.cancel()
            if gone.done():
                self.broken_off += 1
                return False
        gone.cancel()
        end = json.dumps({"choices": [], "model": "tiny", "usage": USAGE})
        last = f"data: {end}\n\ndata: [DONE]\n\n".encode()
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        await writer.drain()
        return False

    async def _hang(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        gone = asyncio.ensure_future(reader.read(1))
        go = asyncio.ensure_future(self.event("answer").wait())
        await asyncio.wait({gone, go}, return_when=asyncio.FIRST_COMPLETED)
        go.cancel()
        if gone.done():
            self.broken_off += 1
            return False
        gone.cancel()
        self._say(writer, 200, answer("/v1/chat/completions"))
        return False

    async def _reset(self, writer: asyncio.StreamWriter) -> bool:
        writer.write(LAST_WORDS["until_close"])
        await self.event("reset").wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
        return False

    async def _large(self, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * 2**20))
        for _ in range(64):
            writer.write(bytes(2**20))
            await writer.drain()
        return True

    def event(self, name: str) -> asyncio.Event:
        return self.events.setdefault(name, asyncio.Event())

    def _say(self, writer: asyncio.StreamWriter, status: int, body: object) -> bool:
        text = json.dumps(body).encode()
        writer.write(
            b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\nserver: engine\r\n"
            b"keep-alive: timeout=5\r\ncontent-length: %d\r\n\r\n%b" % (status, len(text), text)
        )
        return True


def piece(number: int) -> dict[str, object]:
    delta = {"index": 0, "delta": {"content": f"w{number} "}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [delta]}


def answer(path: str) -> dict[str, object]:
    if path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        used = {"prompt_tokens": 3, "total_tokens": 3}
        return {"object": "list", "data": data, "model": "tiny", "usage": used}
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "message": message, "text": "Hello.", "finish_reason": "stop"}
    kind = {"id": "c", "object": "chat.completion", "created": 1, "model": "tiny"}
    return kind | {"choices": [choice], "usage": USAGE}


@dataclass
class Running:
    """A relay and its engine, in a thread with an event loop of their own."""

    loop: asyncio.AbstractEventLoop
    relay: Relay
    engine: Engine
    ended: threading.Event

    @property
    def port(self) -> int:
        return self.relay.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, name: str) -> None:
        """Let the engine go on from the step of this name."""
        self.loop.call_soon_threadsafe(self.engine.event(name).set)

    def call(self, what: Callable[[], Any]) -> Any:
        """What this returns in the relay's own thread."""

        async def run() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def connect(self, timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, data: bytes, timeout: float = 10) -> bytes:
        """Everything that comes back for these bytes until the relay closes the connection."""
        with self.connect(timeout) as client:
            with suppress(ConnectionError):
                client.sendall(data)
            return read_all(client)

    @property
    def work(self) -> list[Heard]:
        """What the engine heard besides the relay's own probing."""
        return [one for one in self.engine.heard if one.get("connection") != "close"]


def ask(
    relay: Running, path: str, key: str | None = KEY, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """An answer's status, headers and body."""
    made = urllib.request.Request(f"{relay.url}{path}", method=method)
    if key:
        made.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(made, timeout=10) as found:
            return found.status, dict(found.headers), found.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def read_all(client: socket.socket) -> bytes:
    received = []
    with suppress(ConnectionError):
        while data := client.recv(65536):
            received.append(data)
    return b"".join(received)


def request(
    body: bytes = b"{}",
    path: str = "/v1/chat/completions",
    key: str | None = KEY,
    *more: str,
    close: bool = True,
) -> bytes:
    """A request's bytes, with a key."""
    lines = [f"POST {path} HTTP/1.1", "Host: relay", f"Content-Length: {len(body)}", *more]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_late(relay: Running, seconds: float, tls: ssl.SSLContext | None = None) -> bytes:
    """What a client gets that asks for LONG, the last on its connection, and reads only after this time."""
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # before it connects: later it counts for less
    bare.connect(("127.0.0.1", relay.port))
    with tls.wrap_socket(bare) if tls else bare as asking:
        asking.sendall(request(close=False))
        assert statuses(asking.recv(65536)) == [200]
        for sending in [one._transport for one in relay.relay._clients if one._transport is not None]:
            sending.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        asking.sendall(request(b'{"act": "long"}'))
        time.sleep(seconds)
        return read_all(asking)


def statuses(received: bytes) -> list[int]:
    """The status of each answer in these bytes."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@contextmanager
def relay_running(
    *,
    limits: Limits | None = None,
    wait_ready: bool = True,
    engine: Engine | None = None,
    loop: str = "asyncio",
    **config: Any,
) -> Iterator[Running]:
    """A relay with two keys in front of an engine; both are ended afterwards."""
    started = threading.Event()
    ended = threading.Event()
    kept: list[Running] = []
    the_engine = engine or Engine()

    async def main() -> None:
        server = await asyncio.start_server(the_engine.serve, "127.0.0.1", 0, limit=2**20)
        the_engine.port = server.sockets[0].getsockname()[1]
        config.setdefault("keys", (Secret(KEY), Secret(OTHER_KEY)))
        config.setdefault("upstream", replace(ANYWHERE, port=the_engine.port))
        relay = Relay(Config(listen=ANYWHERE, limits=limits or Limits(), **config))
        kept.append(Running(asyncio.get_running_loop(), relay, the_engine, ended))
        running = asyncio.ensure_future(relay.run())
        await relay.listening()
        while wait_ready and not relay.metrics.ready:
            await asyncio.sleep(0.01)
        started.set()
        await running
        server.close()
        for writer in the_engine.writers:
            writer.transport.abort()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.01)

    def run() -> None:
        try:
            (uvloop.run if loop == "uvloop" else asyncio.run)(main())
        finally:
            ended.set()
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield kept[0]
    finally:
        with suppress(RuntimeError):
            kept[0].loop.call_soon_threadsafe(kept[0].relay.stop)
        thread.join(40)
        assert not thread.is_alive()
