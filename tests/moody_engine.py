"""A small, real HTTP server that answers as an engine does, in the mood that the file MOOD says.

    python moody_engine.py PORT

crash   end with 3 before listening, saying why as vLLM does
eat     take memory until the system ends it
write   write a file to the folder FULL, as a cache is written
ill     (also later) answer /health with 503, as long as the mood lasts
mute    (also later) be healthy, and fail all that is asked for tokens
        (anything else) serve

POST /v1/completions {"stream": true, "seconds": S} sends a piece every tenth of a second for S seconds. Each
start adds a line with its process id to the file STARTS.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import time
from pathlib import Path

MODEL = "moody"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        code = 503 if self.path == "/health" and mood() == "ill" else 200
        self._say({"data": [{"id": MODEL}]} if self.path == "/v1/models" else {"path": self.path}, code)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if mood() == "mute":
            self._say({}, 500)
            return
        if not asked.get("stream"):
            self._say({"choices": [{"text": "Cleared."}], "seen": sorted(os.environ)})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        end = time.monotonic() + asked["seconds"]
        while time.monotonic() < end:
            self.wfile.write(b'data: {"choices": []}\n\n')
            time.sleep(0.1)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _say(self, value: object, code: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def mood() -> str:
    """What the file says now."""
    return Path(os.environ["MOOD"]).read_text() if Path(os.environ["MOOD"]).exists() else ""


def main() -> None:
    now = mood()
    with Path(os.environ["STARTS"]).open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if now == "crash":
        print("RuntimeError: No available memory for the cache blocks", flush=True)
        sys.exit(3)
    if now == "write":
        Path(os.environ["FULL"], "cache").write_bytes(b"x" * 2**20)
    taken = []
    while now == "eat":
        taken.append(bytearray(b"x" * 2**20))
    with http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
