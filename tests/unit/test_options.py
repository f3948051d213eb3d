"""Options are read as the pinned engines read them, and what is read prints so that it is read again."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import CommandLine, option_words, parse_words, words_of
from llm_atc.plan.config_rules import check_config
from llm_atc.plan.engine import EngineName
from llm_atc.plan.facts import read_facts, read_options
from llm_atc.plan.options import Json, Kind, Option, OptionSet
from llm_atc.plan.pasted_line import parse
from llm_atc.plan.shapes import Shape, ShapeError
from llm_atc.render.options import as_facts, as_line
from llm_atc.store.engine_options import engine_options
from tests.unit.corpus import Entry, entries

VLLM, LLAMA = engine_options(EngineName.VLLM), engine_options(EngineName.LLAMA_CPP)
LINES = [*entries("vllm_lines.txt"), *entries("llama_lines.txt")]

words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
plain_words = st.text(string.ascii_letters + string.digits + "_/.:", min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, anything, max_size=3)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(),
    "float": finite,
    "number": st.integers() | finite,
    "number-or-auto": st.integers() | st.sampled_from(["auto", "all"]),
    "size": st.integers(),
    "size-or-auto": st.integers(min_value=-1),
    "json": anything,
    "json-or-text": objects | plain_words,
    "lower": st.text(string.ascii_lowercase + "_", min_size=1),
    "device-ids": st.lists(
        st.integers(min_value=0) | plain_words.map("GPU-{}".format), min_size=1, max_size=3
    ),
    "text": words.filter(lambda word: word != "None"),
}


def shaped(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that this shape holds."""
    if shape.kind in ("literal", "enum", "name"):
        return st.sampled_from(shape.values)
    if shape.kind in ("lower", "union"):
        return st.one_of([shaped(part) for part in shape.of])
    if shape.kind == "words":
        return st.lists(plain_words, max_size=3)
    if shape.kind == "list":
        return st.lists(shaped(shape.of[0]), min_size=shape.bounds.get("min_length", 0), max_size=3)
    if shape.kind == "dict":
        keys, least = shaped(shape.keys) if shape.keys else words, shape.bounds.get("min_length", 0)
        return st.dictionaries(keys, shaped(shape.of[0]), min_size=least, max_size=3)
    if shape.kind == "object":
        required = {name: shaped(one) for name, one in shape.fields.items() if one.required}
        optional = {name: shaped(one) for name, one in shape.fields.items() if not one.required}
        return st.fixed_dictionaries(required, optional=optional)
    return number_or_text(shape)


def number_or_text(shape: Shape) -> st.SearchStrategy[Any]:
    low, high = shape.bounds.get("ge", shape.bounds.get("gt")), shape.bounds.get("le", shape.bounds.get("lt"))
    apart = {"exclude_min": "gt" in shape.bounds, "exclude_max": "lt" in shape.bounds}
    if shape.kind == "int":
        return st.integers(None if low is None else low + apart["exclude_min"], high)
    if shape.kind == "float":
        return st.floats(low, high, allow_nan=False, allow_infinity=False, **apart)
    return {"str": words, "bool": st.booleans(), "null": st.none(), "any": anything}[shape.kind]


def allowed(value: Any, shape: Shape) -> bool:
    try:
        check_config(shape, value)
    except ShapeError:
        return False
    return True


def value_for(option: Option, known: OptionSet) -> st.SearchStrategy[Any]:
    """Values that the option can have."""
    if option.kind is Kind.FLAG:
        return st.just(True)
    if option.kind is Kind.SWITCH:
        return st.booleans()
    if option.kind is Kind.LORA:
        return st.lists(
            st.fixed_dictionaries({"name": words, "path": words}, optional={"base_model_name": words})
        )
    one = one_value_for(option, known)
    if isinstance(option.nargs, int):
        return st.lists(one, min_size=option.nargs, max_size=option.nargs)
    if option.nargs == "+":
        return st.lists(one.filter(lambda value: not str(value).startswith("-")), min_size=1, max_size=3)
    if option.kind is Kind.APPEND:
        return st.lists(one, min_size=1, max_size=3)
    return one | st.none() if option.optional else one


def one_value_for(option: Option, known: OptionSet) -> st.SearchStrategy[Any]:
    if option.dest == "config":
        return words.map("{}.yaml".format)
    if option.type == "config":
        shape = known.configs[option.config or ""]
        return shaped(shape).filter(lambda value: allowed(value, shape))
    return st.sampled_from(option.choices) if option.choices else BY_TYPE[option.type]


def lines(known: OptionSet) -> st.SearchStrategy[CommandLine]:
    usable = [
        option.dest
        for option in known.options
        if option.kind is not Kind.HELP and not option.positional and option.dest != "model"
    ]
    chosen = st.lists(st.sampled_from(usable), unique=True, max_size=5)
    options = chosen.flatmap(
        lambda some: st.fixed_dictionaries({dest: value_for(known.by_dest[dest], known) for dest in some})
    )
    models = words.filter(lambda word: not word.startswith("-"))
    env = st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True), words, max_size=2)
    return st.builds(
        CommandLine, engine=st.just(known.engine), model=models, options=options, env=env
    ).filter(lambda line: line.model != "None")


@pytest.mark.parametrize("known", [VLLM, LLAMA], ids=lambda known: known.engine)
def test_every_option_of_the_list_can_have_a_value(known: OptionSet) -> None:
    for option in known.options:
        if option.kind is not Kind.HELP:
            assert not value_for(option, known).is_empty, option.name


@given(lines(VLLM))
@settings(deadline=None, max_examples=200)
def test_a_vllm_line_that_is_printed_is_read_again(line: CommandLine) -> None:
    assert parse(as_line(line, VLLM), engine_options) == line


@given(lines(LLAMA))
@settings(deadline=None, max_examples=200)
def test_a_llama_server_line_that_is_printed_is_read_again(line: CommandLine) -> None:
    read = parse(as_line(line, LLAMA), engine_options)
    assert (read.model, read.options, read.env) == (line.model, line.options, line.env)


@given(lines(VLLM))
@settings(deadline=None, max_examples=100)
def test_options_that_are_written_as_a_mapping_are_read_again(line: CommandLine) -> None:
    assume(not any(str(value)[:1] in ("{", "[") for value in line.options.values() if isinstance(value, str)))
    assert read_facts(as_facts(line), engine_options) == line


@pytest.mark.parametrize("option", VLLM.options, ids=lambda option: option.dest)
def test_every_spelling_of_an_option_means_the_same(option: Option) -> None:
    if option.positional or option.kind is Kind.HELP or option.dest == "model":
        return
    value = example(option)
    for flag in option.positives:
        first, *rest = option_words({option.dest: value}, VLLM)
        name, equals, text = first.partition("=")
        if name in option.negatives:
            continue
        spelled = f"{flag}{equals}{text}"
        assert parse_words(["M", spelled, *rest], VLLM).options == {option.dest: value}, spelled


def example(option: Option) -> Json:
    """One value that the option takes."""
    simple: dict[str, Json] = {"int": 3, "float": 0.5, "size": 2048, "size-or-auto": 4096, "json": {"a": 1}}
    if option.kind in (Kind.FLAG, Kind.SWITCH):
        return True
    if option.kind is Kind.LORA:
        return [{"name": "a", "path": "b"}]
    value: Json = simple.get(option.type, "text")
    if option.dest == "config":
        value = "a.yaml"
    if option.type == "config":
        value = {}
    if option.type == "device-ids":
        value = [0, 1]
    if option.choices:
        value = option.choices[0]
    return [value] if option.nargs == "+" or option.kind is Kind.APPEND else value


@pytest.mark.parametrize("entry", LINES, ids=lambda entry: entry.text.splitlines()[0][:80])
def test_a_line_of_the_corpus_is_read_or_refused(entry: Entry) -> None:
    if not entry.bad:
        line = parse(entry.text, engine_options)
        if line.model is not None:
            assert parse(as_line(line, engine_options(line.engine)), engine_options) == line
        return
    with pytest.raises(UsageError) as raised:
        parse(entry.text, engine_options)
    assert raised.value.exit_code == 2
    assert raised.value.message.endswith((".", "?", ")"))


def test_the_corpus_holds_300_lines_and_bad_ones_among_them() -> None:
    assert len(LINES) > 500
    assert sum(entry.bad for entry in LINES) > 150


def test_a_mapping_takes_dashes_and_underscores_and_sizes_as_people_write_them() -> None:
    read = read_options(
        {
            "max-model-len": "32k",
            "enforce_eager": True,
            "served-model-name": ["a", "b"],
            "quantization": None,
        },
        VLLM,
    )
    assert read == {
        "max_model_len": 32000,
        "enforce_eager": True,
        "served_model_name": ["a", "b"],
        "quantization": None,
    }


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"max_modl_len": 3}, "--max-model-len"),
        ({"enforce_eager": "yes"}, "--enforce-eager is true or false"),
        ({"dtype": True}, "--dtype wants a value"),
        ({"tokenizer": ["a"]}, "--tokenizer wants one value"),
        ({"max_model_len": "many"}, "--max-model-len: 'many' is not a whole number"),
        ({"max_model_len": 1, "max-model-len": 2}, "twice"),
        ({"model_tag": "M"}, "no option 'model_tag'"),
    ],
)
def test_a_mapping_that_the_engine_would_refuse_is_refused(mapping: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_options(mapping, VLLM)


def test_printing_leaves_nothing_shortened() -> None:
    line = parse("vllm serve M -tp 2 --max-num-seq 4 -O3 --no-enforce", engine_options)
    assert {*words_of(line, VLLM)[3:]} == {
        *("--optimization-level", "3", "--no-enforce-eager"),
        *("--tensor-parallel-size", "2", "--max-num-seqs", "4"),
    }
