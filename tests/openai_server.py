"""An OpenAI-compatible server on loopback that answers as a script says; real HTTP, no model.

    with OpenAIServer(lambda ask: ask.echo()) as server:
        httpx.post(f"{server.url}/v1/completions", json={"prompt": "a"})

The script is called for each POST, and gives an `Answer`. `server.asked` holds every request's path and
body, in the order they came.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass
class Answer:
    """What the server does with a request; `cut` closes the connection in place of an answer.

    With `stream`, each of its parts is sent as it comes, and `cut` closes the connection after them.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    stream: Iterable[bytes] | None = None


@dataclass
class Ask:
    """One request; `attempt` counts, from 1, how often this body has come."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    attempt: int

    @property
    def said(self) -> str:
        """The prompt, or the last message."""
        return str(self.body.get("prompt") or self.body["messages"][-1]["content"])

    def echo(self) -> Answer:
        """An answer that says what was said."""
        return Answer(
            body={"id": "cmpl-1", "choices": [{"text": self.said}], "model": self.body.get("model")}
        )


def event(delta: Mapping[str, object], finish: str | None = None) -> bytes:
    """One event of a streamed chat, with what it adds."""
    return b"data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"


def told(*texts: str, finish: str = "stop") -> Answer:
    """A streamed chat answer of these pieces."""
    pieces = [event({"role": "assistant", "content": ""}), *(event({"content": text}) for text in texts)]
    return Answer(stream=[*pieces, event({}, finish), b"data: [DONE]\n\n"])


class OpenAIServer:
    """The server, while the `with` block runs."""

    def __init__(
        self, script: Callable[[Ask], Answer], *, models: tuple[str, ...] = ("tiny",), key: str | None = None
    ) -> None:
        self.script, self.models, self.key = script, models, key
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._bodies: Counter[str] = Counter()
        self._lock = threading.Lock()

        class Handler(_Handler):
            pass

        Handler.owner = self
        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """Its address, without /v1."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, path: str, body: dict[str, Any]) -> int:
        """Remember a request; how often its body has come."""
        with self._lock:
            self.asked.append((path, body))
            text = json.dumps(body)
            self._bodies[text] += 1
            return self._bodies[text]

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: OpenAIServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Tell the models."""
        self._send(Answer(body={"data": [{"id": name} for name in self.owner.models]}))

    def do_POST(self) -> None:
        """Answer by the script."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.owner.script(Ask(self.path, body, self.headers, self.owner.count(self.path, body)))
        if answer.stream is not None and self._allowed():
            self._stream(answer)
        elif answer.cut:
            self.close_connection = True
        else:
            self._send(answer)

    def _allowed(self) -> bool:
        return self.owner.key is None or self.headers.get("Authorization") == f"Bearer {self.owner.key}"

    def _stream(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        parts: Iterator[bytes] = iter(answer.stream or ())
        try:
            for part in parts:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            if not answer.cut:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = answer.cut
        except OSError:
            self.close_connection = True
        finally:
            if hasattr(parts, "close"):
                parts.close()  # a generator learns here that the client has gone

    def _send(self, answer: Answer) -> None:
        if not self._allowed():
            answer = Answer(401, {"error": {"message": "no"}})
        text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(text)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here."""
