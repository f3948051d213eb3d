"""Asks an endpoint: is it healthy, and does it really answer?"""

from __future__ import annotations

import http.client
import json
from typing import Any

from llm_atc.access import Secret
from llm_atc.certificates import Certificate
from llm_atc.plan.model import Runner
from llm_atc.ports import Usage

HEALTH_SECONDS = 3.0
ANSWER_SECONDS = 120.0
GENERATE: dict[str, object] = {"prompt": "Hello", "max_tokens": 1}
EMBED: dict[str, object] = {"input": "Hello"}


class HttpProbe:
    """The Probe, over plain HTTP/1.1; one connection for each question, as a new client would have."""

    def healthy(self, address: str, certificate: Certificate | None = None) -> bool:
        try:
            return _ask(address, "GET", "/health", None, None, HEALTH_SECONDS, certificate)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def answers(
        self,
        address: str,
        model: str,
        runner: Runner,
        key: Secret | None,
        certificate: Certificate | None = None,
    ) -> str | None:
        if runner is Runner.POOLING:
            path, wanted = "/v1/embeddings", EMBED
        else:
            path, wanted = "/v1/completions", GENERATE
        try:
            body = {"model": model} | wanted
            status, text = _ask(address, "POST", path, body, key, ANSWER_SECONDS, certificate)
        except (OSError, http.client.HTTPException) as error:
            return f"the connection broke ({type(error).__name__})"
        if status != 200:
            return f"{path} answered {status}: {text[:200]}"
        try:
            return None if _holds_answer(json.loads(text)) else f"{path} answered without a result"
        except (ValueError, KeyError, IndexError, TypeError):
            return f"{path} answered no JSON that can be read"

    def usage(self, address: str, key: Secret | None, certificate: Certificate | None = None) -> Usage | None:
        try:
            status, text = _ask(address, "GET", "/relay/status", None, key, HEALTH_SECONDS, certificate)
            return _usage(json.loads(text)) if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return None


def _usage(told: dict[str, Any]) -> Usage:
    keeper = told.get("keeper") or {}
    idle, limit = float(told["idle_seconds"]), told.get("idle_exit")
    ends = [max(limit - idle, 0)] if limit else []
    if keeper.get("seconds_left") is not None:
        ends.append(max(keeper["seconds_left"], 0))
    return Usage(
        idle=idle,
        left=min(ends, default=None),
        dollars=keeper.get("dollars"),
        warning=keeper.get("warning"),
    )


def _holds_answer(answer: dict[str, Any]) -> bool:
    if "choices" in answer:
        return isinstance(answer["choices"][0]["text"], str)
    return len(answer["data"][0]["embedding"]) > 0


def _ask(
    address: str,
    method: str,
    path: str,
    body: object | None,
    key: Secret | None,
    seconds: float,
    certificate: Certificate | None,
) -> tuple[int, str]:
    connection = (
        http.client.HTTPConnection(address, timeout=seconds)
        if certificate is None
        else http.client.HTTPSConnection(address, timeout=seconds, context=certificate.pinned())
    )
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key.reveal()}"
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, response.read(1_000_000).decode(errors="replace")
    finally:
        connection.close()
