"""An OpenAI-compatible endpoint: its models, its streamed answers, and its failures in words."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from llm_atc.access import Secret
from llm_atc.certificates import Certificate
from llm_atc.chat.stream import DONE, EventReader, Piece, StreamError, failure_text, read_piece
from llm_atc.errors import EndpointError

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0  # a long prompt on a slow machine says nothing for minutes
# What a server's own words hold, what that means, and what helps.
_REASONS = (
    (
        ("chat template", "chat_template"),
        "The model has no chat template, so it cannot be talked to.",
        "llm-atc serve … --chat-template FILE",
    ),
    (
        ("tool choice requires", "tool-call-parser", "tools param requires"),
        "The endpoint was not started for tools.",
        "llm-atc serve … -- --enable-auto-tool-choice --tool-call-parser hermes   (or chat without tools)",
    ),
    (
        ("context length", "context size", "exceed_context", "context window", "max_model_len"),
        "The conversation is longer than the model's context.",
        "/clear   (or serve with a larger --max-model-len)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoint:
    """Where to talk. `url` has no trailing slash and no /v1; every failure is an EndpointError.

    `certificate` is the one that it is known by, where no authority has signed for it.
    """

    url: str
    key: Secret | None = None
    certificate: Certificate | None = None

    def models(self) -> tuple[str, ...]:
        """The names of the models that it offers."""
        with self._told(None), self._client() as client:
            response = client.get("/v1/models")
            if response.status_code != 200:
                raise self._refusal(response, None)
            try:
                return tuple(str(model["id"]) for model in response.json()["data"])
            except (ValueError, KeyError, TypeError) as error:
                raise EndpointError(
                    f"{self.url} lists no models, so it is no OpenAI-compatible endpoint.",
                    hint="llm-atc endpoint NAME   shows a deployment's address",
                ) from error

    def stream(self, body: dict[str, Any]) -> Generator[Piece, None, None]:
        """The pieces of an answer as they come. Closing the generator closes the connection."""
        model = str(body.get("model"))
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        with (
            self._told(model),
            self._client() as client,
            client.stream("POST", "/v1/chat/completions", json=asked) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise self._refusal(response, model)
            yield from self._pieces(response)

    def _pieces(self, response: httpx.Response) -> Iterator[Piece]:
        events, finished = EventReader(), False
        for data in response.iter_bytes():
            for event in events.feed(data):
                if event.strip() == DONE:
                    return
                piece = read_piece(event)
                finished = finished or piece.finish is not None
                yield piece
        if not finished:
            raise self._broken()

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key.reveal()}"} if self.key else {}
        verify = True if self.certificate is None else self.certificate.pinned()
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, verify=verify)

    @contextmanager
    def _told(self, model: str | None) -> Iterator[None]:
        """Every failure of the way as an EndpointError."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EndpointError(f"Nothing answers at {self.url}.", hint="llm-atc status") from error
        except httpx.TimeoutException as error:
            raise EndpointError(
                f"{self.url} was silent for {SILENCE_SECONDS:.0f} s.", hint="llm-atc status"
            ) from error
        except httpx.TransportError as error:
            raise self._broken() from error
        except StreamError as error:
            raise self._reason(f"{error}", f"{self.url} failed while it answered: {error}") from error

    def _broken(self) -> EndpointError:
        return EndpointError(
            f"{self.url} broke off in the middle of its answer.",
            hint="ask again   (llm-atc logs NAME tells why an engine ended)",
        )

    def _reason(self, said: str, otherwise: str) -> EndpointError:
        for signs, message, hint in _REASONS:
            if any(sign in said.lower() for sign in signs):
                return EndpointError(message, hint=hint, details=(said[:300],))
        return EndpointError(otherwise[:400])

    def _refusal(self, response: httpx.Response, model: str | None) -> EndpointError:
        """What an answer that is none means."""
        status = response.status_code
        said = _said(response)
        if status in (401, 403):
            which = "the key that it was given" if self.key else "a request without a key"
            return EndpointError(f"{self.url} refuses {which}.", hint="--api-key NAME_OF_A_VARIABLE")
        if status == 404 and model is not None:
            return self._no_such_model(model, said)
        if status == 429:
            return _busy(self.url, response)
        if status in (502, 503, 504):
            return EndpointError(
                f"{self.url} is not ready: {said or status}"[:400].rstrip(".") + ".", hint="llm-atc status"
            )
        return self._reason(said, f"{self.url} answered {status}: {said or 'nothing more'}")

    def _no_such_model(self, model: str, said: str) -> EndpointError:
        try:
            offered = self.models()
        except EndpointError:
            offered = ()
        if not offered or model in offered:
            return EndpointError(
                f"{self.url} has no /v1/chat/completions: {said or 404}"[:400], hint="llm-atc status"
            )
        return EndpointError(
            f"{self.url} has no model {model!r}. It has: {', '.join(offered)}.", hint=f"--model {offered[0]}"
        )


def _busy(url: str, response: httpx.Response) -> EndpointError:
    wait = response.headers.get("Retry-After", "").strip()
    when = f"in {wait} s" if wait.isdigit() else f"after {wait}" if wait else "later"
    return EndpointError(f"{url} has too much to do (429).", hint=f"ask again {when}")


def _said(response: httpx.Response) -> str:
    try:
        return failure_text(json.loads(response.content)) or response.text[:200].strip()
    except ValueError:
        return " ".join(response.text.split())[:200]
