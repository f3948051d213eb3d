"""The tree of errors: drawn once, in a docstring, and true."""

from __future__ import annotations

import re

import pytest

from llm_atc import errors
from llm_atc.errors import AtcError

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


def drawn_tree() -> dict[str, str]:
    """Each class in the docstring's drawing, with the one that it hangs on."""
    assert errors.__doc__ is not None
    hangs: dict[str, str] = {}
    above = {0: "AtcError"}
    for line in errors.__doc__.splitlines():
        found = re.match(r" {4}((?:│   |    )*)[├└]── (\w+)", line)
        if found:
            depth = len(found[1]) // 4 + 1
            hangs[found[2]] = above[depth - 1]
            above[depth] = found[2]
    return hangs


def test_the_drawing_has_every_class_under_its_own_base() -> None:
    assert drawn_tree() == {
        name: cls.__base__.__name__ for name, cls in CLASSES.items() if cls is not AtcError
    }


def test_the_root_of_the_drawing_is_a_plain_exception() -> None:
    assert AtcError.__bases__ == (Exception,)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_exit_codes_are_one_but_for_usage_and_ctrl_c(name: str) -> None:
    assert CLASSES[name].exit_code == {"UsageError": 2, "Interrupted": 130}.get(name, 1)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_says_what_its_class_stands_for(name: str) -> None:
    assert CLASSES[name].__doc__


def test_an_error_carries_its_message_its_hint_and_its_details() -> None:
    error = errors.NotReady("It did not answer.", hint="llm-atc logs demo", details=("a", "b"))
    assert (str(error), error.message, error.hint, error.details) == (
        "It did not answer.",
        "It did not answer.",
        "llm-atc logs demo",
        ("a", "b"),
    )


def test_hint_and_details_may_be_left_away() -> None:
    error = AtcError("Something.")
    assert (error.hint, error.details) == (None, ())
