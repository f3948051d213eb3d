"""Requests of a batch as they are written down, and the file of answers at any point of its life."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_atc.batch.answers import opened
from llm_atc.batch.lines import BatchRequest, Defaults, read_requests
from llm_atc.errors import BatchError

CRC = format(zlib.crc32(b'"b"'), "08x")


def read(*lines: str, **defaults: Any) -> list[BatchRequest]:
    return list(read_requests([line.encode() for line in lines], Defaults(**{"model": "m", **defaults})))


def test_a_line_in_openai_s_form_is_taken_as_it_is() -> None:
    body = '{"model": "own", "input": "x"}'
    line = '{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": ' + body + "}"
    assert read(line) == [
        BatchRequest(custom_id="a", url="/v1/embeddings", body={"model": "own", "input": "x"})
    ]


@pytest.mark.parametrize(
    ("line", "url", "body"),
    [
        ('"Hello"', "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
        ('{"prompt": "Once"}', "/v1/completions", {"prompt": "Once"}),
        ('{"messages": [], "n": 2}', "/v1/chat/completions", {"messages": [], "n": 2}),
        ('\ufeff{"prompt": "é"}', "/v1/completions", {"prompt": "é"}),
    ],
)
def test_a_plain_line_is_the_request_that_its_key_means(line: str, url: str, body: dict[str, object]) -> None:
    (request,) = read(line)
    assert (request.url, request.body) == (url, {"model": "m"} | body)


def test_a_plain_line_s_id_is_its_own_or_made_of_number_and_content() -> None:
    first, second, third = read('{"prompt": "a", "custom_id": "mine"}', "", '"b"', '"b"')
    assert first.custom_id == "mine"
    assert "custom_id" not in first.body
    assert (second.custom_id, third.custom_id) == (f"line-3-{CRC}", f"line-4-{CRC}")
    assert read("", "", '"b" ')[0].custom_id == second.custom_id
    assert read("", "", '"c"')[0].custom_id != second.custom_id


def test_defaults_are_for_requests_that_name_none() -> None:
    defaults = {"parameters": {"temperature": 0.5, "max_tokens": 7}}
    assert read('{"prompt": "a"}', **defaults)[0].body == {
        "model": "m",
        "prompt": "a",
        "temperature": 0.5,
        "max_tokens": 7,
    }
    own = '{"prompt": "a", "model": "o", "temperature": 0, "max_completion_tokens": 3}'
    assert read(own, **defaults)[0].body == json.loads(own)
    line = '{"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}}'
    assert read(line, **defaults)[0].body == {"model": "m", "input": "x"}


def test_a_system_message_goes_before_chats_that_have_none() -> None:
    own = '{"messages": [{"role": "developer", "content": "own"}]}'
    plain, kept = read('"a"', own, system="Be brief.")
    assert plain.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
    ]
    assert kept.body["messages"] == [{"role": "developer", "content": "own"}]
    with pytest.raises(BatchError, match=r"Line 1 .*--system is for messages"):
        read('{"prompt": "a"}', system="Be brief.")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "it is no JSON"),
        ("7", "neither an object nor a text"),
        ("{}", "either a prompt or messages"),
        ('{"prompt": "a", "messages": []}', "either a prompt or messages"),
        ('{"prompt": "a", "custom_id": 7}', "its custom_id is no text"),
        ('{"prompt": "a", "stream": true}', "asks for a stream"),
        ('{"url": "/v1/completions", "body": {}}', "it has no custom_id"),
        ('{"custom_id": "a", "url": "https://else/v1/x", "body": {}}', "its url is 'https://else/v1/x'"),
        ('{"custom_id": "a", "url": "/v1/x y", "body": {}}', "its url is"),
        ('{"custom_id": "a", "url": "/v1/completions", "body": []}', "its body is no object"),
        ('{"custom_id": "a", "method": "GET", "url": "/v1/models", "body": {}}', "its method is 'GET'"),
    ],
)
def test_a_line_that_is_no_request_is_refused_by_its_number(line: str, why: str) -> None:
    with pytest.raises(BatchError, match="Line 2 of the input cannot be asked") as raised:
        read('"fine"', line)
    assert why in raised.value.message


def test_an_id_that_comes_twice_is_refused() -> None:
    with pytest.raises(BatchError, match=r"Line 3 .*'a' stands in a line before it"):
        read('{"prompt": "1", "custom_id": "a"}', '"x"', '{"prompt": "2", "custom_id": "a"}')


# --- the file of answers


def answer(custom_id: str, error: object = None) -> dict[str, object]:
    body = {"text": "ü\n\ud83d" + "}" * 3}
    return {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": body, "error": error}


def ids(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


@settings(max_examples=150, deadline=None)
@given(names=st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=5), data=st.data())
def test_cut_anywhere_and_gone_on_each_line_is_there_once(
    names: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "out.jsonl"
    with opened(path) as answers:
        for name in names:
            answers.add(name, answer(name))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    with opened(path) as answers:
        left = set(answers.done)
        assert left == {name for name in names if name in ids_of(content[:cut])}
        for name in names:
            if name not in answers.done:
                answers.add(name, answer(name))
    assert sorted(ids(path)) == sorted(names)


def ids_of(content: bytes) -> list[str]:
    """The ids of the lines that are whole, with or without their end."""
    found = []
    for line in content.split(b"\n"):
        try:
            found.append(json.loads(line)["custom_id"])
        except ValueError:
            continue
    return found


def test_failed_lines_are_dropped_to_be_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with opened(path) as answers:
        answers.add("a", answer("a"))
        answers.add("b", answer("b", {"code": "http_400"}))
        answers.add("c", answer("c"))
    with opened(path) as answers:
        assert (answers.done, answers.failed) == ({"a", "b", "c"}, {"b"})
    with opened(path, retry_failed=True) as answers:
        assert (answers.done, answers.failed) == ({"a", "c"}, set())
        answers.add("b", answer("b"))
    assert ids(path) == ["a", "c", "b"]
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize(
    "content", ["notes without an end", "notes\n", '{"custom_id": "a"}\n', "[]\n", '{"custom_id": "tor']
)
def test_a_file_that_holds_anything_else_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(content)
    with pytest.raises(BatchError, match="is no answer of a batch"), opened(path):
        pass
    assert path.read_text() == content


def test_two_may_not_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with opened(path), pytest.raises(BatchError, match="Another llm-atc generate"), opened(path):
        pass


def test_a_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="cannot be written: Is a directory"), opened(tmp_path):
        pass
