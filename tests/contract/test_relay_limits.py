"""The relay's limits: when it is ready, how many at once, how long, and how many tokens by default."""

from __future__ import annotations

import json
import socket

import pytest

from llm_atc.relay.config import Address, Limits
from tests.local_fixtures import eventually
from tests.relay_fixtures import (
    KEY,
    LONG,
    Engine,
    ask,
    read_all,
    read_late,
    relay_running,
    request,
    statuses,
)


def test_health_needs_no_key_and_waits_for_the_first_token() -> None:
    with relay_running(engine=Engine(generates=False), wait_ready=False) as relay:
        eventually(lambda: any("/v1/completions" in one.target for one in relay.engine.heard))
        status, headers, body = ask(relay, "/health", None)
        assert (status, json.loads(body)["error"]["code"]) == (503, "not_ready")
        assert headers["retry-after"] == "5"
        relay.engine.generates = True
        eventually(lambda: ask(relay, "/health", None)[0] == 200)
        assert ask(relay, "/health", None, "HEAD")[2] == b""
        assert ask(relay, "/health", KEY, "POST")[0] == 405
        relay.engine.healthy = False
        eventually(lambda: ask(relay, "/health", None)[0] == 503)


def test_an_engine_that_is_not_there_yet_is_not_ready() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = Address(host="127.0.0.1", port=taken.getsockname()[1])
        with relay_running(wait_ready=False, upstream=nowhere) as relay:
            status, headers, body = ask(relay, "/v1/models")
            assert (status, headers["retry-after"]) == (503, "5")
            assert json.loads(body)["error"]["code"] == "not_ready"


def test_more_than_the_limit_at_once_are_sent_away() -> None:
    with relay_running(limits=Limits(concurrent=1)) as relay:
        with relay.connect() as asking:
            asking.sendall(request(b'{"act": "hang"}'))
            eventually(lambda: relay.relay.metrics.working == 1)
            received = relay.send(request())
            assert statuses(received) == [429]
            assert b"retry-after: 1\r\n" in received
            assert ask(relay, "/health", None)[0] == 200
            relay.set("answer")
            assert statuses(read_all(asking)) == [200]
        assert statuses(relay.send(request())) == [200]


def test_a_request_that_takes_too_long_ends() -> None:
    with relay_running(limits=Limits(request_seconds=0.2)) as relay:
        assert statuses(relay.send(request(b'{"act": "hang"}'))) == [504]
        eventually(lambda: relay.engine.broken_off == 1)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_last_answer_on_a_connection_waits_for_a_slow_client(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr("llm_atc.relay.client.LINGER_SECONDS", 0.1)
    with relay_running(loop=loop) as relay:
        assert read_late(relay, 1.5).endswith(b"\r\n\r\n" + LONG)
    with relay_running(loop=loop, limits=Limits(stalled_seconds=0.3)) as relay:
        assert len(read_late(relay, 1.5)) < len(LONG)


def test_a_limit_is_put_into_requests_that_name_none() -> None:
    with relay_running(defaults={"max_tokens": 7, "temperature": 0.5}) as relay:
        for path, body, expected in (
            ("/v1/chat/completions", b'{"a": 1.10}', b'{"a": 1.10,"max_tokens": 7, "temperature": 0.5}'),
            ("/v1/chat/completions", b"{} \n", b'{"max_tokens": 7, "temperature": 0.5}'),
            ("/v1/chat/completions", b'{"max_completion_tokens":3,"temperature":0}', None),
            ("/v1/responses", b"{}", b'{"temperature": 0.5, "max_output_tokens": 7}'),
            ("/v1/embeddings", b'{"input":"x"}', None),
            ("/v1/chat/completions", b'["no object"]', None),
            ("/v1/chat/completions", b'{"broken', None),
            (
                "/v1/chat/completions",
                b'{"max_tokens":null}',
                b'{"max_tokens":null,"max_tokens": 7, "temperature": 0.5}',
            ),
        ):
            relay.send(request(body, path))
            heard = relay.work[-1].body
            assert heard == (expected if expected is not None else body) or json.loads(heard) == json.loads(
                expected or body
            )
