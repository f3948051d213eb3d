"""An engine that costs next to nothing: `python -m benchmarks.stub_engine PORT`.

It answers a chat at once with a small JSON object, or with a stream of CHUNKS events, each written by itself.
To SkyServe's load balancer it is the controller too, with itself as the only replica.
"""

from __future__ import annotations

import asyncio
import re
import sys

import httptools
import uvloop

CHUNKS = 50
ANSWER = (
    b'{"id":"chat-1","object":"chat.completion","created":1,"model":"tiny","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}'
)
MODELS = b'{"object":"list","data":[{"id":"tiny","object":"model"}]}'
EVENT = (
    b'data: {"id":"chat-1","object":"chat.completion.chunk","created":1,"model":"tiny",'
    b'"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
REPLICAS = b'{"replica_info":{"http://127.0.0.1:%d":{"gpu_type":"none"}}}'
STREAM = re.compile(rb'"stream":\s*true')
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"


class StubEngine(asyncio.Protocol):
    """One connection."""

    def __init__(self, port: int) -> None:
        self._replicas = REPLICAS % port
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._streams = False
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path, self._streams = b"", False

    def on_url(self, part: bytes) -> None:
        self._path += part

    def on_body(self, data: bytes) -> None:
        self._streams = self._streams or STREAM.search(data) is not None

    def on_message_complete(self) -> None:
        if self._streams:
            task = asyncio.get_running_loop().create_task(self._stream())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        body = {b"/v1/models": MODELS, b"/controller/load_balancer_sync": self._replicas}.get(
            self._path, ANSWER
        )
        self._write(HEAD % (b"application/json", b"content-length: %d" % len(body)) + body)

    async def _stream(self) -> None:
        self._write(HEAD % (b"text/event-stream", b"transfer-encoding: chunked"))
        for _ in range(CHUNKS):
            self._write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await asyncio.sleep(0)
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: StubEngine(port), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
