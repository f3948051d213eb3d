"""The relay's pure parts: heads, bodies, keys, routes, counts; and what its page says of them."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.access import Secret
from llm_atc.errors import SecretMissing, UsageError
from llm_atc.relay import replies
from llm_atc.relay.body import defaults_for, model_of, usage_of, with_defaults
from llm_atc.relay.config import Address, Limits, read_default, read_keys
from llm_atc.relay.head import read_answer, read_request, write_answer, write_request
from llm_atc.relay.keys import Keyring
from llm_atc.relay.metrics import MAX_MODELS, Metrics
from llm_atc.relay.replies import Refused
from llm_atc.relay.routes import NEVER, ROUTES, Use, find

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "relay.md").read_text()
HOST = (b"Host", b"relay")
json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("text", ["127.0.0.1:9100", "[::1]:80", "engine.local:1"])
def test_addresses_are_read_and_printed(text: str) -> None:
    assert str(Address.parse(text)) == text
    assert Address.parse(f"http://{text}") == Address.parse(text)


@pytest.mark.parametrize("text", ["", "9100", "host", "https://h:1", "http://h:1/path", "h:99999", "h:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_keys_are_read_from_one_variable() -> None:
    assert [key.reveal() for key in read_keys({"K": "first-key, second-key,"}, "K")] == [
        "first-key",
        "second-key",
    ]
    with pytest.raises(SecretMissing):
        read_keys({"K": " , "}, "K")


@pytest.mark.parametrize("text", ["temperature", "=1", "a b=1", "temperature=warm"])
def test_defaults_are_names_and_json(text: str) -> None:
    assert read_default("temperature=0.5") == ("temperature", 0.5)
    with pytest.raises(UsageError):
        read_default(text)


def test_a_keyring_opens_for_its_keys_alone() -> None:
    ring = Keyring([Secret("first-key"), Secret("second-key")])
    assert ring.opens(b"Bearer first-key", None)
    assert ring.opens(b"bearer  second-key ", None)
    assert ring.opens(None, b"first-key")
    assert ring.opens(b"Basic x", b"first-key")
    for wrong in (
        b"",
        b"Bearer",
        b"Bearer ",
        b"first-key",
        b"Basic first-key",
        b"Bearer first-key,second-key",
    ):
        assert not ring.opens(wrong, None)
    assert not ring.opens(None, None)
    assert not ring.opens(None, b"\xff\xfe")
    assert Keyring([]).opens(None, None)


def test_a_request_is_written_anew_without_what_is_not_the_engines_business() -> None:
    headers = [
        HOST,
        (b"Connection", b"close, X-Mine"),
        (b"X-Mine", b"1"),
        (b"Authorization", b"Bearer key"),
        (b"Content-Length", b"2"),
        (b"X-Other", b"2"),
    ]
    request = read_request(b"POST", b"/v1/completions?a=b", headers, "1.1")
    assert (request.path, request.keep_alive, request.length) == (b"/v1/completions", False, 2)
    assert write_request(request, b"engine:1", b"Bearer engine", 9) == (
        b"POST /v1/completions?a=b HTTP/1.1\r\nhost: engine:1\r\nx-other: 2\r\n"
        b"authorization: Bearer engine\r\ncontent-length: 9\r\n\r\n"
    )
    assert b"transfer-encoding: chunked\r\n" in write_request(request, b"engine:1", None, None)


def test_an_answer_is_written_anew() -> None:
    answer = read_answer(200, b"OK", [(b"Connection", b"close"), (b"Content-Length", b"5"), (b"A", b"b")])
    assert (answer.length, answer.until_close) == (5, False)
    assert write_answer(answer, length=5, chunked=False, close=True) == (
        b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
    )


def test_a_refused_request_has_openais_shape() -> None:
    with pytest.raises(Refused) as raised:
        read_request(b"GET", b"/", [], "1.1")
    head, _, body = raised.value.reply.encode(close=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert head.endswith(b"connection: close")
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@given(st.dictionaries(st.text(), json_values, max_size=5), st.integers(1, 99))
def test_a_default_is_added_and_nothing_else_changes(found: dict[str, object], number: int) -> None:
    body = json.dumps(found).encode()
    made = with_defaults(body, {"max_tokens": number})
    read = json.loads(made)
    named = [
        found.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
    ]
    if any(value is not None for value in named):
        assert made == body
    else:
        assert read == found | {"max_tokens": number}
        assert made.startswith(body[:-1])


@given(st.binary(max_size=50))
def test_bodies_that_are_no_object_pass_as_they_are(body: bytes) -> None:
    made = with_defaults(body, {"max_tokens": 1})
    assert made == body or isinstance(json.loads(body), dict)
    assert with_defaults(b"[" * 100_000, {"max_tokens": 1}) == b"[" * 100_000


def test_routes_get_the_defaults_that_they_understand() -> None:
    given_ = {"max_tokens": 5, "temperature": 0.5, "top_k": 3}
    told = {route.label: defaults_for(route, given_) for route in ROUTES}
    assert told["/v1/completions"] == given_
    assert told["/v1/responses"] == {"temperature": 0.5, "max_output_tokens": 5}
    assert told["/v1/messages"] == {"temperature": 0.5, "max_tokens": 5}
    assert told["/v1/embeddings"] == {}


def test_models_and_tokens_are_found_in_bodies() -> None:
    assert (
        model_of(b'{"messages": [{"content": "say \\"model\\": \\"no\\""}], "model" : "org/name"}')
        == "org/name"
    )
    assert model_of(b'{"messages": "' + b"x" * 10_000 + b'", "model": "last"}') == "last"
    assert model_of(b'{"prompt": "x"}') is None
    assert usage_of(b'..."usage":{"prompt_tokens":5,"total_tokens":8,"completion_tokens": 3}}') == (5, 3)
    assert usage_of(b'"input_tokens":5,"output_tokens":3}') == (5, 3)
    assert usage_of(b"nothing") == (0, 0)


def test_idleness_starts_when_the_engine_is_ready_and_stands_while_there_is_work() -> None:
    clock = [100.0]
    metrics = Metrics(lambda: clock[0])
    clock[0] = 200
    assert metrics.idle_seconds == 0
    metrics.became_ready()
    clock[0] = 210
    assert metrics.idle_seconds == 10
    metrics.begin(work=True)
    clock[0] = 300
    assert metrics.idle_seconds == 0
    metrics.end(work=True)
    clock[0] = 305
    metrics.begin(work=False)
    metrics.end(work=False)
    assert metrics.idle_seconds == 5
    metrics.went_away()
    clock[0] = 1000
    assert metrics.idle_seconds == 5
    metrics.became_ready()
    clock[0] = 1001
    assert metrics.idle_seconds == 6


def test_models_in_metrics_are_bounded_and_escaped() -> None:
    metrics = Metrics(lambda: 0.0)
    assert metrics.label('a"b\\', 200) == 'a"b\\'
    metrics.used('a"b\\', 1, 2)
    assert 'model="a\\"b\\\\"} 2' in metrics.text()
    assert {metrics.label(f"m{number}", 200) for number in range(1000)} >= {"other", "m0"}
    assert metrics.label(f"m{MAX_MODELS}", 200) == "other"


def test_no_route_is_on_both_lists() -> None:
    assert [path for path in NEVER if find(path.encode())] == []
    assert find(b"/v1/models/org/name.gguf") is not None
    assert find(b"/v1/responses/resp_123/cancel") is not None


def test_the_page_lists_every_route() -> None:
    told = re.findall(r"^\| `(/\S*)` \| ([A-Z, ]+) \| (yes|no) \|$", PAGE, re.MULTILINE)
    used = {route.label: "yes" if route.use is Use.WORK else "no" for route in ROUTES}
    methods = {route.label: b", ".join(route.methods).decode() for route in ROUTES}
    assert {(path, allowed, use) for path, allowed, use in told} == {
        (label, methods[label], used[label]) for label in used
    }


def test_the_page_lists_what_never_passes() -> None:
    section = PAGE.partition("## What never passes\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(/[^`]*)`", section)) == set(NEVER)


def test_the_page_lists_every_limit_with_its_default() -> None:
    told = dict(re.findall(r"^\| `--([a-z-]+)` \| ([0-9,]+) \|", PAGE, re.MULTILINE))
    assert told == {limit.name.replace("_", "-"): f"{limit.default:,}" for limit in fields(Limits)}


def test_the_page_lists_every_status_of_the_relays_own() -> None:
    told = {
        int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", PAGE, re.MULTILINE) for code in row.split(",")
    }
    assert told == set(replies._REASONS) - {200}
