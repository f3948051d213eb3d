"""Accelerators: read, printed, and corrected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import CHIPS, Accelerator, nearest, unknown_accelerator

names = st.sampled_from(sorted(CHIPS)) | st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(name=names, count=st.integers(1, 64))
def test_what_was_read_is_read_again_from_its_own_text(name: str, count: int) -> None:
    read = Accelerator.parse(f"{name}:{count}")
    assert Accelerator.parse(str(read)) == read
    assert read.count == count


@given(name=st.sampled_from(sorted(CHIPS)), count=st.integers(1, 64))
def test_a_known_name_gets_its_catalogue_spelling_whatever_its_case(name: str, count: int) -> None:
    for spelling in (name.lower(), name.upper(), name.swapcase()):
        assert Accelerator.parse(f"{spelling}:{count}") == Accelerator(name=name, count=count)


@given(st.text())
def test_any_text_is_read_or_refused_as_the_users_mistake(text: str) -> None:
    try:
        read = Accelerator.parse(text)
    except UsageError:
        return
    assert 1 <= read.count <= 64


def test_a_name_alone_is_one() -> None:
    assert Accelerator.parse("l4") == Accelerator(name="L4", count=1)


def test_a_name_that_is_not_in_the_table_stays_as_it_was_typed() -> None:
    assert str(Accelerator.parse(" tpu-v5e:8 ")) == "tpu-v5e:8"
    assert Accelerator.parse("tpu-v5e:8").chip is None


@pytest.mark.parametrize("text", ["A100:0", "A100:65", "A100:-1", "A100:1.5", "A100:", "A100:one", "A100:²"])
def test_a_count_that_is_none_is_refused_with_the_name_repaired(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of accelerators from 1 to 64") as caught:
        Accelerator.parse(text)
    assert caught.value.hint == "--accelerator A100:1"


@pytest.mark.parametrize("text", ["", ":", ":2", "4:A100", "A 100", "A100;2", "A100:1:2\n--x", "$(id)"])
def test_text_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Accelerator.parse(text)


def test_memory_and_compute_capability_come_with_the_name() -> None:
    chip = Accelerator.parse("a100-80gb:2").chip
    assert chip is not None
    assert (chip.memory, chip.capability) == (80, (8, 0))


@pytest.mark.parametrize(
    ("typed", "meant"), [("A100-80", "A100-80GB"), ("H10", "H100"), ("rtx-4090", "RTX4090"), ("zzzzzz", None)]
)
def test_the_nearest_known_name_is_offered(typed: str, meant: str | None) -> None:
    assert nearest(typed) == meant


def test_the_nearest_is_sought_among_what_is_sold() -> None:
    assert nearest("A100", ("L4", "A100-80GB")) == "A100-80GB"


def test_an_unknown_accelerator_is_corrected_with_its_count() -> None:
    error = unknown_accelerator(Accelerator(name="A100-80", count=2))
    assert error.message == "No accelerator is called 'A100-80'. Did you mean A100-80GB:2?"
    assert error.hint == "--accelerator A100-80GB:2"


def test_an_accelerator_like_no_other_gets_the_list() -> None:
    assert unknown_accelerator(Accelerator(name="zzzzzz")).hint == "sky gpus list"
