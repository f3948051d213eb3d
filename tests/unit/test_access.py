"""Keys and secrets: minted, read, compared, and never shown."""

from __future__ import annotations

import dataclasses
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.access import KEY_PREFIX, Secret, looks_secret, mint_key, read_key, same_key
from llm_atc.errors import UsageError

good_keys = st.from_regex(r"(?!-)[!-+\--~]{8,256}", fullmatch=True)


def test_a_minted_key_can_be_found_by_its_prefix_and_holds_256_bits() -> None:
    key = mint_key().reveal()
    assert key.startswith(KEY_PREFIX)
    assert len(key.removeprefix(KEY_PREFIX)) == 43  # 256 bits in base64, six to a letter
    assert read_key(key).reveal() == key


def test_no_two_minted_keys_are_the_same() -> None:
    assert len({mint_key().reveal() for _ in range(100)}) == 100


@given(good_keys)
def test_a_key_that_could_be_sent_is_taken_as_it_is(text: str) -> None:
    assert read_key(text).reveal() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short77",
        "x" * 257,
        "with space",
        "with,comma",
        "ünicode-key",
        "line\nbreak!",
        "-my-own-key",
        "tab\tkey9",
    ],
)
def test_a_key_that_no_header_or_engine_would_carry_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(UsageError, match="An API key has 8 to 256 printable ASCII characters") as caught:
        read_key(text)
    assert not text or text not in f"{caught.value} {caught.value.hint}"


@given(st.text(min_size=8).filter(lambda text: text not in "Secret(***)"))
def test_a_secret_is_in_no_text_that_python_makes_of_it(value: str) -> None:
    secret = Secret(value)
    shown = f"{secret} {secret!r} {secret!s} {[secret]} { ({'k': secret}) }"
    assert shown.count("Secret(***)") == 5
    assert value not in shown.replace("Secret(***)", "")


def test_a_secret_is_not_in_a_traceback() -> None:
    secret = mint_key()
    try:
        raise ValueError(secret)
    except ValueError:
        assert secret.reveal() not in traceback.format_exc()


def test_a_secret_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Secret("abc")._value = "other"  # type: ignore[misc]


@given(st.text(), st.text())
def test_two_keys_are_the_same_exactly_when_their_texts_are(a: str, b: str) -> None:
    assert same_key(a, Secret(a))
    assert same_key(a, Secret(b)) is (a == b)


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "hf_token",
        "TOKEN",
        "VLLM_API_KEY",
        "OPENAI_APIKEY",
        "API_KEYS",
        "GITHUB_PAT",
        "DB_PASSWORD",
        "PGPASSWD",
        "AWS_SECRET_ACCESS_KEY",
        "CLIENT_SECRET",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ],
)
def test_names_that_usually_hold_a_secret_are_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["MAX_TOKENS", "TOKENIZERS_PARALLELISM", "KEYBOARD", "MONKEY", "PATH", "VLLM_LOGGING_LEVEL", "PATTERN"],
)
def test_names_that_only_look_like_one_stay_plain(name: str) -> None:
    assert not looks_secret(name)
