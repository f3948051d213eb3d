"""The relay between the real `openai` client and a small engine: what passes, and what is counted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from llm_atc.access import Secret
from tests.local_fixtures import eventually
from tests.relay_fixtures import (
    HELLO,
    KEY,
    OTHER_KEY,
    Engine,
    Running,
    ask,
    read_all,
    relay_running,
    request,
    statuses,
)


@pytest.fixture(params=["asyncio", "uvloop"])
def relay(request: pytest.FixtureRequest) -> Iterator[Running]:
    with relay_running(loop=request.param) as running:
        yield running


def client(relay: Running, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{relay.url}/v1", api_key=key, max_retries=0, timeout=20)


def metric(relay: Running, name: str) -> float:
    """The sum of a metric's samples."""
    lines = ask(relay, "/relay/metrics")[2].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"llm_atc_relay_{name}"))


def test_the_openai_client_talks_through_it_with_either_key(relay: Running) -> None:
    for key in (KEY, OTHER_KEY):
        with client(relay, key) as asked:
            said = asked.chat.completions.create(model="tiny", messages=HELLO)  # type: ignore[arg-type]
            assert said.choices[0].message.content == "Hello."
            assert [one.id for one in asked.models.list().data] == ["tiny"]
            found = asked.embeddings.create(model="tiny", input="x", encoding_format="float")
            assert found.data[0].embedding == [0.5, 0.25]


@pytest.mark.parametrize("key", [None, "sk-atc-wrong", KEY + "x", KEY[:-1], ""])
def test_nobody_passes_without_a_key(relay: Running, key: str | None) -> None:
    for path in (
        "/v1/models",
        "/metrics",
        "/relay/metrics",
        "/relay/status",
        "/docs",
        "/v1/chat/completions",
    ):
        status, _, body = ask(relay, path, key)
        assert status == 401
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
    assert relay.work == []


def test_the_openai_client_understands_the_refusals(relay: Running) -> None:
    with client(relay, "sk-atc-wrong") as asked, pytest.raises(openai.AuthenticationError) as raised:
        asked.models.list()
    assert raised.value.code == "invalid_api_key"
    with client(relay) as asked, pytest.raises(openai.NotFoundError) as missing:
        asked.get("/files", cast_to=object)
    assert missing.value.code == "not_found"


def test_anthropics_header_holds_a_key_too(relay: Running) -> None:
    body = request(b"{}", "/v1/messages", None, f"x-api-key: {KEY}")
    assert statuses(relay.send(body)) == [200]
    assert statuses(relay.send(request(b"{}", "/v1/messages", None, "x-api-key: sk-atc-wrong"))) == [401]


def test_the_engine_never_sees_the_key(relay: Running) -> None:
    relay.send(request(b"{}", "/v1/chat/completions", KEY, f"X-API-Key: {KEY}", "Proxy-Authorization: x"))
    (heard,) = relay.work
    assert KEY not in str(heard)
    assert heard.get("proxy-authorization") is None
    assert heard.get("host") == f"127.0.0.1:{relay.engine.port}"


def test_an_engine_with_a_key_of_its_own_gets_that_one() -> None:
    with relay_running(upstream_key=Secret("sk-atc-engine")) as relay:
        relay.send(request())
        assert [one.get("authorization") for one in relay.work] == ["Bearer sk-atc-engine"]


def test_without_keys_everybody_passes() -> None:
    with relay_running(keys=()) as relay:
        assert ask(relay, "/v1/models", None)[0] == 200
        assert ask(relay, "/docs", None)[0] == 404


def test_a_stream_comes_piece_by_piece(relay: Running) -> None:
    with client(relay) as asked:
        stream = asked.chat.completions.create(model="tiny", messages=HELLO, stream=True)  # type: ignore[call-overload]
        for number in range(relay.engine.chunks):
            # The engine writes the next piece only when told: what is read here cannot have been held back.
            assert next(stream).choices[0].delta.content == f"w{number} "
            relay.set(f"chunk {number + 1}")
        assert next(stream).usage.completion_tokens == 2
        with pytest.raises(StopIteration):
            next(stream)
    assert eventually(lambda: metric(relay, "tokens_total")) == 7
    assert metric(relay, "time_between_chunks_seconds_count") >= relay.engine.chunks


@pytest.mark.parametrize("act", ["stream", "hang"])
def test_a_client_that_leaves_takes_its_request_with_it(relay: Running, act: str) -> None:
    asking = relay.connect()
    asking.sendall(request(json.dumps({"act": act}).encode()))
    eventually(lambda: relay.work)
    if act == "stream":
        assert b"w0" in asking.recv(65536)
    assert relay.engine.broken_off == 0
    asking.close()
    eventually(lambda: relay.engine.broken_off == 1)
    eventually(lambda: relay.relay.metrics.working == 0)


def test_the_engines_own_refusals_pass_as_they_are(relay: Running) -> None:
    received = relay.send(request(b'{"act": "fail"}'))
    assert received.startswith(b"HTTP/1.1 422 Said\r\n")
    assert b"server: engine\r\n" in received
    assert b"keep-alive" not in received
    assert received.endswith(b'{"error": {"message": "the engine\'s own words"}}')


@pytest.mark.parametrize(("act", "code"), [("silent", "engine_broke_off"), ("garble", "engine_garbled")])
def test_an_engine_that_does_not_answer_is_a_bad_gateway(relay: Running, act: str, code: str) -> None:
    received = relay.send(request(json.dumps({"act": act}).encode()))
    assert statuses(received) == [502]
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == code


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(relay: Running) -> None:
    with client(relay) as asked, pytest.raises(openai.APIConnectionError):
        asked.chat.completions.create(model="tiny", messages=HELLO, extra_body={"act": "cut"})  # type: ignore[arg-type]


def test_an_answer_of_unknown_length_arrives_whole(relay: Running) -> None:
    assert relay.send(request(b'{"act": "until_close"}')).endswith(b"until the end\r\n0\r\n\r\n")
    old = request(b'{"act": "until_close"}').replace(b"HTTP/1.1", b"HTTP/1.0")
    received = relay.send(old)
    assert b"transfer-encoding" not in received
    assert received.endswith(b"\r\n\r\nuntil the end")


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_an_answer_without_a_length_that_breaks_off_is_not_taken_for_a_whole_one(
    relay: Running, version: bytes
) -> None:
    with relay.connect() as asking:
        asking.sendall(request(b'{"act": "reset"}').replace(b"HTTP/1.1", version))
        received = b""
        while b"until the end" not in received:
            received += asking.recv(65536)
        relay.set("reset")
        if version == b"HTTP/1.1":
            assert read_all(asking) in (b"", b"\r\n")
        else:
            with pytest.raises(ConnectionResetError):
                asking.recv(65536)


def test_a_connection_that_the_engine_closed_meanwhile_is_tried_anew(relay: Running) -> None:
    for _ in range(20):
        with relay.connect() as asking:
            asking.sendall(request(b'{"act": "tired"}', close=False))
            assert asking.recv(65536).startswith(b"HTTP/1.1 200")
            relay.set("tired")  # the engine closes while the next request is on its way
            asking.sendall(request())
            assert statuses(read_all(asking)) == [200]
        relay.call(relay.engine.event("tired").clear)


@pytest.mark.parametrize(("act", "times"), [("silent", 2), ("half_head", 1)])
def test_a_request_is_sent_a_second_time_only_once_and_only_to_silence(
    relay: Running, act: str, times: int
) -> None:
    with relay.connect() as asking:
        asking.sendall(request(close=False))
        assert asking.recv(65536).startswith(b"HTTP/1.1 200")
        asking.sendall(request(json.dumps({"act": act}).encode()))
        assert statuses(read_all(asking)) == [502]
    assert len([one for one in relay.work if act.encode() in one.body]) == times
    assert metric(relay, "retries_total") == times - 1


def test_connections_to_the_engine_are_kept(relay: Running) -> None:
    before = relay.engine.connections
    for _ in range(5):
        relay.send(request())
    assert relay.engine.connections == before + 1


def test_a_large_body_is_streamed_whole(relay: Running) -> None:
    body = b'{"x": "' + os.urandom(2**21).hex().encode() + b'"}'
    assert statuses(relay.send(request(body))) == [200]
    assert relay.work[-1].body == body
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _parts(body, 70_001)) + b"0\r\n\r\n"
    head = request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert statuses(relay.send(head + chunked)) == [200]
    assert relay.work[-1].body == body


def _parts(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def test_an_engine_that_answers_before_the_body_is_there_is_heard(relay: Running) -> None:
    body = bytes(2**22)
    received = relay.send(request(body, "/v1/chat/completions", KEY, "X-Act: early"))
    assert received.endswith(b"early")
    assert statuses(received) == [400]


def test_only_real_requests_are_use(relay: Running) -> None:
    def used() -> float | None:
        return relay.call(lambda: relay.relay.metrics.last_use)  # type: ignore[no-any-return]

    first = used()
    for path in ("/health", "/metrics", "/v1/models", "/relay/metrics", "/relay/status", "/nowhere"):
        ask(relay, path)
    ask(relay, "/v1/chat/completions", "sk-atc-wrong", "POST")
    assert used() == first
    with relay.connect() as asking:
        asking.sendall(request(b'{"act": "hang"}'))
        eventually(lambda: relay.relay.metrics.working == 1)
        assert json.loads(ask(relay, "/relay/status")[2])["idle_seconds"] == 0
        relay.set("answer")
        read_all(asking)
    assert used() != first


def test_it_ends_by_itself_when_it_was_idle_but_not_before_the_engine_was_ready() -> None:
    with relay_running(engine=Engine(generates=False), wait_ready=False, idle_exit=0.3) as relay:
        assert not relay.ended.wait(1.0)
        relay.engine.generates = True
        assert relay.ended.wait(10)


def test_an_open_stream_keeps_it_from_ending() -> None:
    with relay_running(idle_exit=0.2) as relay:
        with relay.connect() as asking:
            asking.sendall(request(b'{"act": "stream"}'))
            assert not relay.ended.wait(1.5)
            for number in range(relay.engine.chunks):
                relay.set(f"chunk {number + 1}")
            assert b"[DONE]" in read_all(asking)
        assert relay.ended.wait(10)


def test_what_is_being_answered_ends_well_when_the_relay_is_told_to_end(relay: Running) -> None:
    with relay.connect() as asking, relay.connect() as idle:
        asking.sendall(request(b'{"act": "stream"}', close=False))
        assert b"w0" in asking.recv(65536)
        idle.sendall(request(close=False))
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        relay.call(relay.relay.stop)
        assert read_all(idle) == b""
        for number in range(relay.engine.chunks):
            relay.set(f"chunk {number + 1}")
        assert read_all(asking).endswith(b"0\r\n\r\n")
    assert relay.ended.wait(10)


def test_models_are_named_in_metrics_only_once_the_engine_answered_for_them(relay: Running) -> None:
    relay.send(request(b'{"model": "tiny"}'))
    for number in range(100):
        relay.send(request(b'{"act": "fail", "model": "m%d"}' % number))
    text = ask(relay, "/relay/metrics")[2].decode()
    assert 'model="tiny",status="200"} 1' in text
    assert 'model="other",status="422"} 100' in text
    assert "m99" not in text


def test_it_starts_alone_and_ends_with_0_when_told_to(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "llm_atc.relay",
        "--upstream",
        "http://127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
    ]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [*command, "--key-env", "A_KEY"],
        env={"A_KEY": f"{KEY},{OTHER_KEY}"},
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
    ) as started:
        assert started.stderr is not None
        line = started.stderr.readline()
        assert line.startswith("relay: http://127.0.0.1:")
        assert KEY not in line
        port = int(line.split()[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as asking:
            asking.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert statuses(read_all(asking)) == [503]
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 0
    for words, code, said in (
        (["--key-env", "NO_KEY"], 1, "NO_KEY is empty"),
        (["--key-env", "SHORT"], 2, "8 to 256"),
        (["--no-auth", "--default", "temperature"], 2, "no name and value"),
        (["--no-auth", "--concurrent", "0"], 2, "more than 0"),
    ):
        done = subprocess.run(
            [*command, *words], env={"SHORT": "short"}, capture_output=True, text=True, cwd=root, check=False
        )
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_it_needs_nothing_of_llm_atc_but_keys_and_errors() -> None:
    code = (
        "import sys, llm_atc.relay.__main__; "
        "print(sorted(m for m in sys.modules if m.startswith('llm_atc') and '.relay' not in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['llm_atc', 'llm_atc.access', 'llm_atc.errors']"
