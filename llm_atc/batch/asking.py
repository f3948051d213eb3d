"""One request to an endpoint: asked again where that helps, and its answer as OpenAI's batches record it."""

from __future__ import annotations

import asyncio
import json
import math
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from llm_atc.access import Secret
from llm_atc.batch.answers import ID
from llm_atc.batch.lines import BatchRequest
from llm_atc.certificates import Certificate
from llm_atc.errors import BatchError

FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 0.5, 60.0, 900.0
CONNECT_SECONDS = 10.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_KEY = frozenset({401, 403})

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to ask; `url` ends before /v1. `timeout` is seconds for one answer. `certificate` is the one that
    the endpoint is known by, where no authority has signed for it."""

    url: str
    key: Secret | None = None
    timeout: float = 600
    certificate: Certificate | None = None

    def client(self, connections: int) -> httpx.AsyncClient:
        """A client with so many connections."""
        return httpx.AsyncClient(
            base_url=self.url,
            verify=True if self.certificate is None else self.certificate.pinned(),
            headers={"Authorization": f"Bearer {self.key.reveal()}"} if self.key else {},
            timeout=httpx.Timeout(self.timeout, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=httpx.URL(self.url).host not in _LOOPBACK,  # no proxy leads to this machine
        )


class Asker:
    """Asks an endpoint. `retries` is how often a request is asked again."""

    def __init__(self, client: httpx.AsyncClient, *, retries: int, sleep: Sleep = asyncio.sleep) -> None:
        self._client = client
        self._retries = retries
        self._sleep = sleep

    async def models(self) -> tuple[str, ...]:
        """The models it serves; none when it does not tell. BatchError when it cannot be reached or used."""
        try:
            answer = await self._client.get("/v1/models")
        except httpx.RequestError as error:
            raise self._unreachable(error) from error
        if answer.status_code in _KEY:
            raise self._key_refused()
        try:
            return tuple(str(one["id"]) for one in answer.json()["data"])
        except (ValueError, KeyError, TypeError):
            return ()

    async def ask(self, request: BatchRequest) -> Mapping[str, object]:
        """The line that records the answer, or what went wrong.

        What may pass is tried again: connections that break, 429 and the server's own errors, after the time
        that the server names or a growing one. Raises BatchError for what would fail every request alike:
        a key that is refused, a server that is gone.
        """
        attempt = 0
        while True:
            found = await self._post(request)
            if attempt == self._retries or not _may_pass(found):
                return self._settled(request, found)
            await self._sleep(_wait(found, attempt))
            attempt += 1

    async def _post(self, request: BatchRequest) -> httpx.Response | httpx.RequestError:
        try:
            return await self._client.post(
                request.url,
                content=json.dumps(request.body).encode(),
                headers={"Content-Type": "application/json"},
            )
        except httpx.RequestError as error:
            return error

    def _settled(
        self, request: BatchRequest, found: httpx.Response | httpx.RequestError
    ) -> Mapping[str, object]:
        if isinstance(found, httpx.ConnectError | httpx.ConnectTimeout):
            raise self._unreachable(found) from found
        if isinstance(found, httpx.RequestError):
            return _record(request, None, _connection(found))
        if found.status_code in _KEY:
            raise self._key_refused()
        return _answered(request, found)

    def _unreachable(self, error: Exception) -> BatchError:
        return BatchError(
            f"{self._client.base_url} does not answer ({type(error).__name__}).", hint="llm-atc status"
        )

    def _key_refused(self) -> BatchError:
        return BatchError(
            f"{self._client.base_url} does not accept the key, or asks for one.",
            hint="export OPENAI_API_KEY=…   (or --api-key NAME, the variable that holds it)",
        )


def _may_pass(found: httpx.Response | httpx.RequestError) -> bool:
    """Whether the same request may fare better later."""
    return isinstance(found, httpx.RequestError) or found.status_code in _AGAIN


def _wait(found: httpx.Response | httpx.RequestError, attempt: int) -> float:
    header = found.headers.get("Retry-After") if isinstance(found, httpx.Response) else None
    asked = _asked_to_wait(header)
    return _growing(attempt) if asked is None else asked


def _growing(attempt: int) -> float:
    """Seconds before the next attempt: doubling, and spread so that many do not come back at once."""
    return float(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1))  # noqa: S311


def _asked_to_wait(header: str | None) -> float | None:
    """Seconds that a Retry-After asks for: a number, or a date; None when it says neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_ASKED) if not math.isnan(seconds) else None


def _answered(request: BatchRequest, answer: httpx.Response) -> Mapping[str, object]:
    try:
        body: object = answer.json()
    except ValueError:
        body = {"text": answer.text[:10_000]}
        error: Mapping[str, object] | None = {"code": "not_json", "message": "the answer is no JSON"}
    else:
        error = None
    if answer.status_code != 200:
        error = {"code": f"http_{answer.status_code}", "message": _message(body)}
    found = body.get("id") if isinstance(body, dict) else None
    response = {
        "status_code": answer.status_code,
        "request_id": answer.headers.get("x-request-id") or (found if isinstance(found, str) else ""),
        "body": body,
    }
    return _record(request, response, error)


def _message(body: object) -> str:
    """What an error's body says, wherever the server puts it."""
    found = body.get("error", body) if isinstance(body, dict) else body
    said = (found.get("message") or found.get("text")) if isinstance(found, dict) else found
    return str(said if isinstance(said, str) and said else found)[:1000]


def _connection(error: Exception) -> Mapping[str, object]:
    code = "timeout" if isinstance(error, httpx.TimeoutException) else "connection"
    return {"code": code, "message": f"{type(error).__name__}: {error}".rstrip(": ")}


def _record(request: BatchRequest, response: object, error: object) -> Mapping[str, object]:
    return {
        "id": f"{ID}{uuid.uuid4().hex}",
        "custom_id": request.custom_id,
        "response": response,
        "error": error,
    }
