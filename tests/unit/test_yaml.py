"""Values as YAML text, which reads back as the same values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from llm_atc.render.yaml import dump

texts = (
    st.text()
    | st.lists(st.text(), min_size=2).map("\n".join)
    | st.sampled_from(
        ["yes", "no", "on", "null", "~", "1e3", "0x10", "010", "1_000", "12:30:45", "2024-01-01"]
    )
    | st.sampled_from(
        ["", " ", "# x", "- x", "a: b", "{a", "[a", "*a", "&a", "!a", "%a", "@a", "`a", "|", ">"]
    )
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=12)


@given(values)
@example("a\r\nb")
@example("a\x85b\nc")
@example("a\u2028b\nc")
@example(" leading\nand trailing \n\n")
@example("\n")
@example("tab\there\n\tand here")
@example({"key\nof two lines": "x"})
def test_what_was_written_reads_back_the_same(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


@given(values)
def test_the_same_value_is_always_the_same_text(value: Any) -> None:
    assert dump(value) == dump(yaml.safe_load(dump(value)))


def test_keys_stay_in_the_order_given() -> None:
    assert dump({"b": 1, "a": 2}) == "b: 1\na: 2\n"


def test_a_script_is_a_block() -> None:
    assert dump({"run": "set -e\necho hello\n"}) == "run: |\n  set -e\n  echo hello\n"


def test_the_same_list_twice_is_written_twice() -> None:
    both = ["x"]
    assert dump({"a": both, "b": both}) == "a:\n- x\nb:\n- x\n"


def test_letters_of_every_script_are_written_as_they_are() -> None:
    assert dump({"name": "模型 é"}) == "name: 模型 é\n"


@pytest.mark.parametrize(
    ("value", "text"), [("8000", "'8000'"), ("yes", "'yes'"), ("null", "'null'"), (None, "null"), ("", "''")]
)
def test_text_that_looks_like_something_else_is_quoted(value: object, text: str) -> None:
    assert dump({"a": value}) == f"a: {text}\n"
