"""What the user said, read from the text of flags."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_atc.access import Secret
from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.request import (
    _CLUSTER,
    Request,
    check_name,
    check_port,
    name_for,
    part_secrets,
    read_accelerators,
    read_pairs,
    text_of_pair,
)
from tests import sky_here

variables = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
# One line, and no white space at its ends, which a flag's text loses.
values = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"])).map(str.strip)


def pairs(*texts: str, **environ: str) -> dict[str, str]:
    return read_pairs(texts, environ, flag="--env")


@given(name=variables, value=values.filter(lambda value: value.count("=") == 0))
def test_one_pair_is_taken_whole(name: str, value: str) -> None:
    assert pairs(f"{name}={value}") == {name: value}


@given(name=variables, value=st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"])))
@example(name="A", value="1 B=2")
@example(name="A", value="it's B=2")
@example(name="A", value=" ")
@example(name="A", value="'1 B=2'")
def test_any_pair_has_a_text_that_is_read_as_it(name: str, value: str) -> None:
    assert pairs(text_of_pair(name, value)) == {name: value}


@given(st.dictionaries(variables, values, min_size=2))
def test_several_quoted_pairs_are_split_as_a_shell_splits_them(given_pairs: dict[str, str]) -> None:
    text = " ".join(f"{name}={shlex.quote(value)}" for name, value in given_pairs.items())
    assert pairs(text) == given_pairs


@given(st.dictionaries(variables, values, min_size=1))
def test_a_name_alone_takes_its_value_from_the_environment(environ: dict[str, str]) -> None:
    assert read_pairs(environ, environ, flag="--env") == environ


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=a b", {"A": "a b"}),
        ("A=it's", {"A": "it's"}),
        ("A=--foo=1 --bar=2", {"A": "--foo=1 --bar=2"}),
        ('A={"b": 1, "c": "d e"}', {"A": '{"b": 1, "c": "d e"}'}),
        ('A={"b":1}', {"A": '{"b":1}'}),
        (r"A=\d+", {"A": r"\d+"}),
        ("A=$(id)", {"A": "$(id)"}),
        ("A=1 B=2", {"A": "1", "B": "2"}),
        ("A='1 2' B=", {"A": "1 2", "B": ""}),
        ("A=x=y", {"A": "x=y"}),
    ],
)
def test_pairs_are_read_as_they_were_meant(text: str, read: dict[str, str]) -> None:
    assert pairs(text) == read


def test_the_last_of_several_flags_for_one_name_counts() -> None:
    assert pairs("A=1", "B=2", "A=3") == {"A": "3", "B": "2"}


@pytest.mark.parametrize("text", ["1A=x", "A-B=x", "=x", "A B=x", "é=x", "A;B=1"])
def test_a_name_that_no_shell_would_take_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a variable's name"):
        pairs(text)


def test_a_name_without_a_value_anywhere_says_how_to_give_one() -> None:
    with pytest.raises(UsageError, match="your environment has no HF_TOKEN") as caught:
        pairs("HF_TOKEN")
    assert caught.value.hint == "export HF_TOKEN=…   or   --env HF_TOKEN=…"


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--env is empty"):
        pairs(text)


def test_a_value_of_several_lines_is_refused() -> None:
    with pytest.raises(UsageError, match="a value of one line is needed"):
        pairs("A=one\ntwo")


def test_quotes_that_are_never_closed_are_refused_between_several_pairs() -> None:
    with pytest.raises(UsageError, match="a quote in it is never closed"):
        pairs("A='1 B=2")


@given(st.text())
def test_any_text_is_read_or_refused_as_the_users_mistake_before_it_is_run(text: str) -> None:
    try:
        read = pairs(text)
    except UsageError:
        return
    assert all("\n" not in value and "\0" not in value for value in read.values())


def test_variables_whose_names_say_secret_are_parted_from_the_others() -> None:
    plain, secret = part_secrets({"A": "1", "HF_TOKEN": "hf_abc", "DB_PASSWORD": "x"})
    assert plain == {"A": "1"}
    assert secret == {"HF_TOKEN": Secret("hf_abc"), "DB_PASSWORD": Secret("x")}


def test_accelerators_keep_their_order_of_preference_each_once() -> None:
    read = read_accelerators(["L4,a100:2", "L4:1"])
    assert read == (Accelerator(name="L4"), Accelerator(name="A100", count=2))


def test_the_rule_for_names_is_skypilots_own() -> None:
    assert _CLUSTER.pattern == sky_here.cluster_name_pattern()


@given(st.text())
def test_any_models_name_makes_a_name_that_we_and_skypilot_take(model: str) -> None:
    name = name_for(model)
    assert check_name(name) == name
    sky_here.check_cluster_name(name)


@given(st.from_regex(r"[-A-Za-z0-9_.]+(/[-A-Za-z0-9_.]+){0,3}/?", fullmatch=True))
def test_any_repository_makes_a_name_that_we_and_skypilot_take(model: str) -> None:
    name = name_for(model)
    assert check_name(name) == name
    sky_here.check_cluster_name(name)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("llm-atc/my_model", "my-model"),
        ("/models/tiny.gguf", "tiny"),
        ("s3://bucket/folder/tiny/", "tiny"),
        ("01-ai/01-Yi", "m-01-yi"),
        ("///", "m"),
        ("模型", "m"),
    ],
)
def test_a_deployment_is_named_for_its_model(model: str, name: str) -> None:
    assert name_for(model) == name


@given(st.text() | st.from_regex(r"[-_.a-zA-Z0-9]{1,80}", fullmatch=True))
def test_a_name_is_taken_or_refused_with_one_that_would_be(name: str) -> None:
    taken = name
    try:
        check_name(name)
    except UsageError as error:
        taken = (error.hint or "").removeprefix("-c ")
    assert check_name(taken) == taken
    sky_here.check_cluster_name(taken)
    assert len(taken) <= 63


@pytest.mark.parametrize(
    ("name", "hint"),
    [("my model", "-c my-model"), ("-x-", "-c x"), ("9b", "-c m-9b"), ("a" * 64, "-c " + "a" * 61)],
)
def test_a_refused_name_is_repaired(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="cannot name a cluster") as caught:
        check_name(name)
    assert caught.value.hint == hint


@pytest.mark.parametrize("port", [None, 1024, 8000, 65535])
def test_ports_of_ordinary_users_are_taken(port: int | None) -> None:
    assert check_port(port) == port


@pytest.mark.parametrize("port", [-1, 0, 80, 1023, 65536])
def test_other_ports_are_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"--port {port} is not between 1024 and 65535"):
        check_port(port)


def test_a_request_shows_no_secret() -> None:
    request = Request(
        model="m", secrets=(("HF_TOKEN", Secret("hf_verysecret")),), keys=(Secret("sk-verysecret"),)
    )
    assert "verysecret" not in repr(request)
