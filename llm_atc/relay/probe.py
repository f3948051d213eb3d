"""Whether the engine works: it says that it is healthy, and has generated a token or embedded a word."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import httptools

from llm_atc.access import Secret
from llm_atc.relay.config import Address

HEALTH_SECONDS = 5.0
ANSWER_SECONDS = 120.0
# While the engine starts, the pause between two questions grows with the time that it has taken so far.
PAUSE_LEAST, PAUSE_MOST, PAUSE_SHARE = 0.02, 0.5, 0.005
READY_PAUSE = 2.0
STRIKES = 3
MAX_ANSWER = 8 * 2**20
_CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
# What an engine is asked, until it does one of these: models that embed, rank or classify cannot generate.
QUESTIONS: tuple[tuple[str, dict[str, object]], ...] = (
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 1}),
    ("/v1/chat/completions", dict(_CHAT)),
    ("/v1/embeddings", {"input": "Hi"}),
    ("/pooling", {"input": "Hi"}),
    ("/classify", {"input": "Hi"}),
    ("/v1/rerank", {"query": "Hi", "documents": ["Hi"]}),
)


class Asker:
    """Asks the engine one question on a connection of its own. Raises OSError, or HttpParserError."""

    def __init__(self, address: Address, key: Secret | None) -> None:
        self._address = address
        self._key = key

    async def ask(
        self, method: str, path: str, wanted: dict[str, object] | None, seconds: float
    ) -> tuple[int, bytes]:
        """The status and body of the answer."""
        body = b"" if wanted is None else json.dumps(wanted).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._address}", "connection: close"]
        if self._key is not None:
            lines.append(f"authorization: Bearer {self._key.reveal()}")
        if wanted is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                return await _read(reader)
            finally:
                writer.close()


class _Collected:
    """The body of an answer, and whether it is whole."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.whole = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole = True


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    collected = _Collected()
    parser = httptools.HttpResponseParser(collected)
    while not collected.whole and len(collected.body) < MAX_ANSWER and (data := await reader.read(65536)):
        parser.feed_data(data)
    return parser.get_status_code(), bytes(collected.body)


class Probe:
    """Watches the engine. `tell(True)` when it begins to work, `tell(False)` when it no longer does."""

    def __init__(self, asker: Asker, tell: Callable[[bool], None]) -> None:
        self._asker = asker
        self._tell = tell

    async def watch(self) -> None:
        """Forever: wait until the engine works, and then until it no longer does."""
        while True:
            begun = time.monotonic()
            while not (await self._healthy() and await self._works()):
                taken = time.monotonic() - begun
                await asyncio.sleep(min(PAUSE_MOST, max(PAUSE_LEAST, PAUSE_SHARE * taken)))
            self._tell(True)
            strikes = 0
            while strikes < STRIKES:
                await asyncio.sleep(READY_PAUSE)
                strikes = 0 if await self._healthy() else strikes + 1
            self._tell(False)

    async def _status(self, method: str, path: str, wanted: dict[str, object] | None, seconds: float) -> int:
        """The answer's status; 0 when there is none."""
        try:
            return (await self._asker.ask(method, path, wanted, seconds))[0]
        except (OSError, httptools.HttpParserError):
            return 0

    async def _healthy(self) -> bool:
        return await self._status("GET", "/health", None, HEALTH_SECONDS) == 200

    async def _works(self) -> bool:
        """Whether it answers one of the questions, or understands none of them (a model for sound)."""
        model = await self._model()
        if model is None:
            return False
        for path, wanted in QUESTIONS:
            status = await self._status("POST", path, {"model": model} | wanted, ANSWER_SECONDS)
            if status == 200:
                return True
            if not 400 <= status < 500 and status != 501:
                return False
        return await self._healthy()

    async def _model(self) -> str | None:
        """The name of the first model that it serves."""
        try:
            _, text = await self._asker.ask("GET", "/v1/models", None, HEALTH_SECONDS)
            return str(json.loads(text)["data"][0]["id"])
        except (OSError, httptools.HttpParserError, ValueError, KeyError, IndexError, TypeError):
            return None
