"""What stands in front of the engine in `benchmarks.relay`: the relay, and what else people put there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.servers import KEY, Server, free_port, running

ALONE, RELAY = "engine alone", "relay"
ROUTER = "vllm-router==0.1.17"
LITELLM = "litellm[proxy]==1.106.2"
# What is slow is measured that many times longer, by the number of clients, so that each gets an answer.
SLOW = {"SkyServe": {1: 3, 32: 3, 256: 8}, "LiteLLM": {1: 8, 32: 15, 256: 60}}
NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection "";
    }}
  }}
}}
"""
LITELLM_CONFIG = """
model_list:
- model_name: tiny
  litellm_params: {{model: openai/tiny, api_base: "http://127.0.0.1:{engine}/v1", api_key: none}}
general_settings: {{master_key: {key}}}
"""


class Start(NamedTuple):
    """How a subject is started on a port."""

    command: list[str]
    environment: dict[str, str]


def _tool(package: str, program: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", package, program, *words]


def _relay(engine: int, port: int, folder: Path) -> Start:
    words = ["--upstream", f"http://127.0.0.1:{engine}", "--listen", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "llm_atc.relay", *words, "--key-env", "BENCHMARK_KEY"]
    return Start(command, {"BENCHMARK_KEY": KEY})


def _nginx(engine: int, port: int, folder: Path) -> Start:
    written = folder / "nginx.conf"
    written.write_text(NGINX.format(folder=folder, engine=engine, port=port))
    return Start([shutil.which("nginx") or "nginx", "-c", str(written)], {})


def _router(engine: int, port: int, folder: Path) -> Start:
    words = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{engine}"]
    words += ["--prometheus-port", str(free_port()), "--policy", "round_robin", "--log-level", "error"]
    return Start(_tool(ROUTER, "vllm-router", *words), {})


def _skyserve(engine: int, port: int, folder: Path) -> Start:
    """SkyServe's balancer asks its controller for replicas: the stub engine answers as one."""
    words = ["--controller-addr", f"http://127.0.0.1:{engine}", "--load-balancer-port", str(port)]
    return Start([sys.executable, "-m", "sky.serve.load_balancer", *words], {"HOME": str(folder)})


def _litellm(engine: int, port: int, folder: Path) -> Start:
    written = folder / "litellm.yaml"
    written.write_text(LITELLM_CONFIG.format(engine=engine, key=KEY))
    words = ["--config", str(written), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return Start(
        _tool(LITELLM, "litellm", *words), {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    )


SUBJECTS: dict[str, Callable[[int, int, Path], Start]] = {
    RELAY: _relay,
    "nginx": _nginx,
    "vllm-router": _router,
    "SkyServe": _skyserve,
    "LiteLLM": _litellm,
}


def versions() -> dict[str, str]:
    """What the subjects are, as far as their versions are chosen here."""
    return {
        "vllm-router": ROUTER.partition("==")[2],
        "SkyServe": version("skypilot"),
        "LiteLLM": LITELLM.partition("==")[2],
    }


def started(stack: ExitStack, folder: Path, chosen: list[str]) -> dict[str, Server]:
    """The engine alone, and what could be started of the chosen; the rest is left out, and said."""
    engine = free_port()
    command = [sys.executable, "-m", "benchmarks.stub_engine", str(engine)]
    found = {ALONE: stack.enter_context(running(command, engine, 0))}
    for name in chosen:
        port = free_port()
        start = SUBJECTS[name](engine, port, folder)
        try:
            found[name] = stack.enter_context(running(start.command, port, 1, **start.environment))
        except (SystemExit, OSError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found
