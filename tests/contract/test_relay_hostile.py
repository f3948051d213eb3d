"""Clients that mean it no good: the relay stays up, tells nobody another's bytes, and stays small."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_atc.relay.config import Limits
from llm_atc.relay.exchange import Exchange
from llm_atc.relay.routes import NEVER, find
from tests.local_fixtures import eventually
from tests.relay_fixtures import KEY, Running, read_all, relay_running, request, statuses

MIB = 2**20
LIMITS = Limits(
    header_seconds=0.5,
    body_seconds=0.5,
    body_bytes=4 * MIB,
    header_bytes=8192,
    connections=40,
    idle_connection_seconds=30,
    stalled_seconds=1.0,
)
AUTH = f"Host: relay\r\nAuthorization: Bearer {KEY}\r\n".encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + AUTH
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: relay\r\n\r\n"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def relay(request: pytest.FixtureRequest) -> Iterator[Running]:
    with relay_running(limits=LIMITS, loop=request.param) as running:
        yield running
        assert statuses(running.send(asked())) == [200], "it still works after all that"
        assert running.call(lambda: running.relay.metrics.in_flight) == 0


asked = request  # the fixture above has one of its own by that name

MALFORMED = {
    "both lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "both lengths, turned round": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + SMUGGLED,
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "an endless length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "no length behind the name": POST + b"Content-Length:\r\n\r\n{}",
    "another coding first": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is only like it": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding behind a tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": POST + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": POST + b"X: a\nContent-Length: 2\r\n\r\n{}",
    "a bare carriage return": POST + b"X: a\rContent-Length: 2\r\n\r\n{}",
    "a null byte": POST + b"X: a\x00b\r\n\r\n",
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than said": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "a chunk of endless size": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
    "line feeds alone between chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "a body with GET": b"GET /v1/models HTTP/1.1\r\n" + AUTH + b"Content-Length: 2\r\n\r\n{}",
    "a body with HEAD": b"HEAD /health HTTP/1.1\r\n" + AUTH + b"Content-Length: 2\r\n\r\n{}",
    "a body with DELETE": b"DELETE /v1/responses/x HTTP/1.1\r\n" + AUTH + b"Content-Length: 2\r\n\r\n{}",
    "a chunked body with GET": b"GET /v1/models HTTP/1.1\r\n"
    + AUTH
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n",
    "two hosts": b"GET /v1/models HTTP/1.1\r\nHost: other\r\n" + AUTH + b"\r\n",
    "two authorizations": b"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer x\r\n" + AUTH + b"\r\n",
    "a whole address": b"GET http://127.0.0.1:1/v1/models HTTP/1.1\r\n" + AUTH + b"\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + AUTH + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n" + AUTH + b"\r\n",
    "an unknown method": b"BREW /v1/models HTTP/1.1\r\n" + AUTH + b"\r\n",
    "a later protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.1 that calls itself 2.0": b"GET /v1/models HTTP/2.0\r\n" + AUTH + b"\r\n",
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "a space in the path": b"GET /v1/models /x HTTP/1.1\r\n" + AUTH + b"\r\n",
    "broken UTF-8 in the path": b"GET /v1/\xff\xfe HTTP/1.1\r\n" + AUTH + b"\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(64),
    "nothing but noise": bytes(range(256)),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_two_parsers_might_read_in_two_ways_is_refused(relay: Running, sent: bytes) -> None:
    before = len(relay.work)
    received = relay.send(sent)
    assert statuses(received) in ([400], [501])
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert len(relay.work) == before, "the engine heard nothing of it"


@pytest.mark.parametrize(
    "path",
    [
        *NEVER, "/", "//v1/models", "/v1/models/", "/v1/models/../../invocations", "/v1//models",
        "/V1/models", "/%76%31/models", "/v1/models%2f..%2fsleep", "/v1/responses/..",
        "/v1/responses/x/../../sleep",
        "/v1/responses/%2e%2e", "/v1/models/a/b/c", "/v1/models;x=1", "/health/", "/v1/chat/completions%00",
        "/v1/audio/../load",
    ],
)  # fmt: skip
def test_nothing_else_than_the_listed_routes_passes(relay: Running, path: str) -> None:
    assert find(path.encode()) is None
    before = len(relay.work)
    for method in (b"GET", b"POST"):
        head = b"%b %b HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n%b\r\n"
        assert statuses(relay.send(head % (method, path.encode(), AUTH))) == [404]
    assert len(relay.work) == before


def test_headers_that_claim_to_be_for_one_connection_cannot_hide_or_add_anything(relay: Running) -> None:
    sent = request(
        b"{}", "/v1/chat/completions", KEY, "Connection: x-hidden, content-length, host", "X-Hidden: 1"
    )
    assert statuses(relay.send(sent)) == [200]
    heard = relay.work[-1]
    assert heard.get("x-hidden") is None
    assert (heard.get("content-length"), heard.body) == ("2", b"{}")


def test_trailers_and_chunk_extensions_do_not_reach_the_engine(relay: Running) -> None:
    head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = head + b"2;a=b\r\n{}\r\n0\r\nAuthorization: Bearer x\r\nX-Trailer: y\r\n\r\n"
    assert statuses(relay.send(sent)) == [200]
    heard = relay.work[-1]
    assert (heard.get("x-trailer"), heard.get("authorization"), heard.body) == (None, None, b"{}")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_before_the_bodys_end_leaves_the_engine_nothing_to_misread(
    relay: Running, chunked: bool, whole: bool
) -> None:
    body = b"x" * 400_000
    coding = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    sent = b"61A80\r\n" + body + b"\r\n0\r\n\r\n" if chunked else body
    relay.call(relay.engine.event("ahead").clear)
    before = len(relay.work)
    with relay.connect() as asking:
        asking.sendall(POST + b"X-Act: ahead\r\n" + coding + b"\r\n\r\n" + sent[:300_000])
        assert b"ahead" in asking.recv(65536)
        if whole:
            asking.sendall(sent[300_000:])
            eventually(lambda: relay.call(lambda: all(one.complete for one in exchanges(relay))))
        relay.set("ahead")
        assert read_all(asking).endswith(b"0\r\n\r\n")
    assert statuses(relay.send(request())) == [200]
    heard = [one.body for one in relay.work[before:]]
    assert heard == ([body, b"{}"] if whole else [b"{}"])


def exchanges(relay: Running) -> list[Exchange]:
    """The requests that are being worked on."""
    return [one for client in relay.relay._clients for one in client._queue]


def test_an_upgrade_is_refused(relay: Running) -> None:
    sent = b"GET /v1/models HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + AUTH + b"\r\n"
    assert statuses(relay.send(sent)) == [501]


def test_large_headers_are_refused(relay: Running) -> None:
    assert statuses(relay.send(POST + b"X: " + b"x" * 9000 + b"\r\n\r\n")) == [431]
    assert statuses(relay.send(POST + b"X: y\r\n" * 3000 + b"\r\n\r\n")) == [431]
    assert statuses(relay.send(b"POST /" + b"x" * 9000)) == [431]
    assert statuses(relay.send(b"GET /v1/models?" + b"x" * 9000 + b" HTTP/1.1\r\n" + AUTH + b"\r\n")) == [431]


def test_a_head_may_be_as_large_as_said_and_not_a_byte_larger(relay: Running) -> None:
    head = b"GET /v1/models?%b HTTP/1.1\r\nConnection: close\r\n" + AUTH + b"\r\n"
    room = LIMITS.header_bytes - len(head % b"")
    assert statuses(relay.send(head % (b"x" * room))) == [200]
    assert statuses(relay.send(head % (b"x" * (room + 1)))) == [431]


def test_large_bodies_are_refused_whether_they_say_so_or_not(relay: Running) -> None:
    assert statuses(relay.send(POST + b"Content-Length: 100000000\r\n\r\n" + bytes(8 * MIB))) == [413]
    chunks = b"100000\r\n%b\r\n" % bytes(MIB) * 6
    received = relay.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert statuses(received) in (
        [413],
        [],
    )  # the client may see only that it was cut off, while it still sends
    extensions = b"1;%b\r\nx\r\n" % (b"e" * 4000) * 400
    assert statuses(relay.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + extensions)) in ([413], [])


def test_slow_heads_and_bodies_are_ended(relay: Running) -> None:
    began = time.monotonic()
    with relay.connect() as silent, relay.connect() as head, relay.connect() as body:
        head.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nX:")
        body.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        assert statuses(read_all(head)) == [408]
        assert statuses(read_all(body)) == [408]
        assert read_all(silent) == b""
    assert time.monotonic() - began < 8


def test_a_slow_loris_holds_no_place_for_others() -> None:
    with relay_running(limits=LIMITS) as relay, ExitStack() as many:
        for _ in range(LIMITS.connections):
            loris = many.enter_context(relay.connect())
            loris.sendall(b"POST / HTTP/1.1\r\nX: ")
        assert statuses(relay.send(request())) in ([503], [200])
        eventually(lambda: statuses(relay.send(request())) == [200])


def test_requests_sent_at_once_are_answered_in_order(relay: Running) -> None:
    one = b"GET /v1/models HTTP/1.1\r\n" + AUTH + b"\r\n"
    missing = one.replace(b"/v1/models", b"/nowhere")
    last = one.replace(b"Host", b"Connection: close\r\nHost")
    assert statuses(relay.send(one + missing + one + request(close=False) + last)) == [
        200,
        404,
        200,
        200,
        200,
    ]


def test_too_many_requests_at_once_are_not_taken(relay: Running) -> None:
    received = relay.send((b"GET /nowhere HTTP/1.1\r\n" + AUTH + b"\r\n") * 500)
    assert statuses(received) == [404] * 16 + [400]


def test_a_client_that_reads_nothing_is_ended_and_fills_no_memory() -> None:
    with relay_running(limits=LIMITS) as relay, ExitStack() as many:
        before = psutil.Process().memory_info().rss
        for _ in range(8):
            greedy = many.enter_context(socket.socket())
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.connect(("127.0.0.1", relay.port))
            greedy.sendall(request(b'{"act": "large"}'))
        eventually(lambda: relay.relay.metrics.working == 8)
        grown = psutil.Process().memory_info().rss - before
        assert grown < 100 * MIB, "512 MiB were offered"
        eventually(lambda: relay.relay.metrics.working == 0)


def test_a_connection_to_the_engine_is_as_good_as_new_after_a_slow_client() -> None:
    with relay_running() as relay:
        before = relay.engine.connections
        with relay.connect() as slow:
            slow.sendall(request(b'{"act": "large"}'))
            eventually(lambda: any(client.stalled for client in list(relay.relay._clients)))
            assert len(read_all(slow)) > 64 * MIB
        for _ in range(3):
            assert statuses(relay.send(request())) == [200]
        assert relay.engine.connections <= before + 1


def test_a_client_that_closes_its_side_is_gone(relay: Running) -> None:
    before = relay.engine.broken_off
    with relay.connect() as half:
        half.sendall(request(b'{"act": "hang"}'))
        eventually(lambda: relay.relay.metrics.working == 1)
        half.shutdown(socket.SHUT_WR)
        assert read_all(half) == b""
    eventually(lambda: relay.engine.broken_off == before + 1)


def test_broken_utf8_in_a_body_is_the_engines_to_judge(relay: Running) -> None:
    assert statuses(relay.send(request(b'{"x": "\xff\xfe\xed\xa0\x80"}'))) == [400]
    assert relay.work[-1].body == b'{"x": "\xff\xfe\xed\xa0\x80"}'


def test_nobody_reads_anothers_answer(relay: Running) -> None:
    """Clients that ask, leave, break off and pipeline over the same few engine connections."""
    chance = random.Random(1)  # noqa: S311 - which client comes next is no secret
    for number in range(150):
        kind = chance.choice(("ask", "leave", "garbage", "halves"))
        mine = b'{"act": "fail", "mine": %d}' % number
        with relay.connect() as asking:
            if kind == "leave":
                asking.sendall(request(b'{"act": "stream", "secret": %d}' % number))
            elif kind == "garbage":
                asking.sendall(POST + b"Content-Length: 9\r\n\r\n{}")
            elif kind == "halves":
                whole = request(mine)
                asking.sendall(whole[:60])
                asking.sendall(whole[60:])
                assert statuses(read_all(asking)) == [422]
            else:
                asking.sendall(request(mine, close=False) + request(b"{}"))
                assert statuses(read_all(asking)) == [422, 200]


def test_memory_stays_as_it_is_over_many_connections(relay: Running) -> None:
    def rounds(count: int) -> int:
        for _ in range(count):
            with suppress(OSError):
                relay.send(POST + b"Content-Length: 100000000\r\n\r\n" + bytes(200_000))
            relay.send(b"\x00" * 5000)
            relay.send(request(b'{"model": "%032x"}' % time.monotonic_ns()))
            relay.engine.heard.clear()
        return int(psutil.Process().memory_info().rss)

    before = rounds(60)
    assert rounds(200) - before < 16 * MIB


_line = st.sampled_from(
    [
        b"POST /v1/chat/completions HTTP/1.1\r\n",
        b"GET /v1/models HTTP/1.1\r\n",
        b"GET /health HTTP/1.0\r\n",
        b"HEAD /health HTTP/1.1\r\n",
        AUTH,
        b"Content-Length: 2\r\n",
        b"Content-Length: 7\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"{}",
        b"2\r\n{}\r\n",
        b"0\r\n\r\n",
        b"\x00",
        b"\xff",
        b"\n",
    ]
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(_line | st.binary(max_size=30), max_size=14), cut=st.integers(0, 200))
def test_no_bytes_bring_it_down(relay: Running, parts: list[bytes], cut: int) -> None:
    sent = b"".join(parts)
    before = len(relay.engine.heard)
    with relay.connect() as asking:
        with suppress(ConnectionError):
            asking.sendall(sent[:cut])
            asking.sendall(sent[cut:])
        asking.settimeout(0.03)
        received = b""
        with suppress(ConnectionError, TimeoutError):
            while data := asking.recv(65536):
                received += data
    assert received == b"" or received.startswith(b"HTTP/1.1 ")
    assert all(status in range(100, 600) for status in statuses(received))
    for heard in relay.engine.heard[before:]:
        assert heard.target in ("/v1/chat/completions", "/v1/models", "/health", "/v1/completions")
        assert heard.get("authorization") is None
        assert heard.get("host") == f"127.0.0.1:{relay.engine.port}"
    assert not relay.ended.is_set()
