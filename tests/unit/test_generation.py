"""Generation defaults as the relay is told of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_atc.plan.generation import FIELDS, relay_words
from llm_atc.relay.__main__ import read_config

values = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "max_tokens": st.integers(1, 10**6),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(-1, 1000),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
    },
)


@given(values)
def test_the_relay_reads_exactly_the_defaults_that_were_meant(defaults: dict[str, float]) -> None:
    told = read_config(
        ["--upstream", "http://127.0.0.1:1", "--no-auth", *relay_words(tuple(defaults.items()))]
    )
    assert dict(told.defaults) == defaults


def test_every_field_is_tried_above() -> None:
    assert set(FIELDS) == {
        *("temperature", "max_tokens", "top_p", "top_k"),
        *("presence_penalty", "frequency_penalty"),
    }
