"""A small, real HTTP server that is started as an engine is, and misbehaves as it is told to.

It reads vLLM's command line (`serve MODEL --host H --port P`) and its key from VLLM_API_KEY.
BEHAVE, separated by commas:

    crash         end with 3 before listening
    deaf          ignore SIGTERM
    child         start a child that ignores SIGTERM, and overwrites its environment as vLLM's workers do
    talk          print 400 numbered lines of 100 characters
"""

from __future__ import annotations

import ctypes
import http.server
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TALK = 400


def main() -> None:
    behave = os.environ.get("BEHAVE", "").split(",")
    option = dict(zip(sys.argv, sys.argv[1:], strict=False))
    if "deaf" in behave:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "talk" in behave:
        for number in range(TALK):
            print(f"{number:05d} {'x' * 93}", flush=True)
    if "crash" in behave:
        print("RuntimeError: No available memory for the cache blocks", flush=True)
        sys.exit(3)
    if "child" in behave:
        child = subprocess.Popen([sys.executable, __file__, "child"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        print(f"child {child.pid}", flush=True)
    keys = [os.environ["VLLM_API_KEY"]] if "VLLM_API_KEY" in os.environ else []
    serve(option["--host"], int(option["--port"]), keys)


def serve(host: str, port: int, keys: list[str]) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            allowed = self.path == "/health" or not keys or given in keys
            body = json.dumps({"path": self.path, "data": [{"id": "one"}]}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, port), Handler) as server:
        print(f"up with {len(keys)} keys", flush=True)
        print("Application startup complete.", flush=True)
        server.serve_forever()


def child() -> None:
    """Ignore SIGTERM, and blank /proc/self/environ as setproctitle does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, 50 and 51 in proc(5)
    ctypes.memset(start, 0, end - start - 40)  # the end stays as it was
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    child() if sys.argv[1:] == ["child"] else main()
