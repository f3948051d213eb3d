"""The relay behind TLS: clients that know its certificate, and those that do not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openai
import pytest

from llm_atc.certificates import Certificate
from llm_atc.errors import SecretMissing, UsageError
from llm_atc.relay.config import Limits
from llm_atc.relay.tls import read_tls
from tests.relay_fixtures import HELLO, KEY, LONG, Running, read_late, relay_running

CERTIFICATE = Certificate.make("demo", datetime.now(UTC))
OTHER = Certificate.make("demo", datetime.now(UTC))
PACKED = {"TLS": CERTIFICATE.packed().reveal()}


@pytest.fixture(params=["asyncio", "uvloop"])
def relay(request: pytest.FixtureRequest) -> Iterator[Running]:
    limits = Limits(header_seconds=1)
    with relay_running(loop=request.param, tls=read_tls(PACKED, "TLS"), limits=limits) as running:
        yield running


def knowing(certificate: Certificate) -> ssl.SSLContext:
    """A client's context that takes this certificate and no other, at whatever address."""
    context = ssl.create_default_context(cadata=certificate.chain)
    context.check_hostname = False
    return context


def test_a_client_that_knows_the_certificate_is_served_and_streamed_to(relay: Running) -> None:
    with httpx.Client(verify=knowing(CERTIFICATE)) as web:
        client = openai.OpenAI(
            base_url=f"https://127.0.0.1:{relay.port}/v1", api_key=KEY, http_client=web, max_retries=0
        )
        whole = client.chat.completions.create(model="tiny", messages=HELLO)  # type: ignore[arg-type]
        assert whole.choices[0].message.content == "Hello."
        stream = client.chat.completions.create(model="tiny", messages=HELLO, stream=True)  # type: ignore[call-overload]
        for number in range(relay.engine.chunks):
            assert next(stream).choices[0].delta.content == f"w{number} "
            relay.set(f"chunk {number + 1}")
        assert next(stream).usage.completion_tokens == 2


def test_the_last_answer_on_a_connection_waits_for_a_slow_client(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_atc.relay.client.LINGER_SECONDS", 0.1)
    assert read_late(relay, 1.5, knowing(CERTIFICATE)).endswith(b"\r\n\r\n" + LONG)


def test_a_client_that_knows_another_certificate_turns_away(relay: Running) -> None:
    with (
        httpx.Client(verify=knowing(OTHER)) as web,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        web.get(f"https://127.0.0.1:{relay.port}/health")


def test_the_key_is_asked_for_as_without_tls(relay: Running) -> None:
    with httpx.Client(verify=knowing(CERTIFICATE)) as web:
        assert web.get(f"https://127.0.0.1:{relay.port}/v1/models").status_code == 401
        assert web.get(f"https://127.0.0.1:{relay.port}/health").status_code == 200


def test_plain_http_gets_no_answer(relay: Running) -> None:
    received = relay.send(b"GET /health HTTP/1.1\r\nHost: relay\r\n\r\n")
    assert b"HTTP/1.1 200" not in received


def test_a_handshake_that_never_ends_is_ended(relay: Running) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as slow:
        assert slow.recv(1) == b""


def test_a_variable_without_a_certificate_is_refused() -> None:
    with pytest.raises(SecretMissing, match="TLS"):
        read_tls({}, "TLS")
    for text in ("###", "aGVsbG8="):
        with pytest.raises(UsageError, match="TLS"):
            read_tls({"TLS": text}, "TLS")


def test_reading_a_certificate_leaves_no_file_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_tls(PACKED, "TLS")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_program_says_that_it_listens_with_tls() -> None:
    command = [sys.executable, "-m", "llm_atc.relay", "--upstream", "http://127.0.0.1:9", "--no-auth"]
    command += ["--listen", "127.0.0.1:0", "--tls-env", "TLS"]
    with subprocess.Popen(command, env=PACKED, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        said = started.stderr.readline()
        started.terminate()
        assert said.startswith("relay: https://127.0.0.1:")


def test_nothing_leaks_when_clients_break_off_in_the_middle(relay: Running) -> None:
    async def break_off() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, ssl=knowing(CERTIFICATE))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: relay\r\n")
        await writer.drain()
        writer.transport.abort()
        del reader

    for _ in range(20):
        asyncio.run(break_off())
    with httpx.Client(verify=knowing(CERTIFICATE)) as web:
        assert web.get(f"https://127.0.0.1:{relay.port}/health").status_code == 200
