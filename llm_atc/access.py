"""Keys and other secrets: minted here, compared here, and never shown by accident."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field

from llm_atc.errors import UsageError

KEY_PREFIX = "sk-atc-"
_KEY = re.compile(r"(?!-)[!-+\--~]{8,256}")
_SECRET_NAME = re.compile(
    r"((^|_)TOKEN|_KEY|_KEYS|APIKEY|_PAT)$|PASSWORD|PASSWD|SECRET|CREDENTIAL", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that no `repr`, log line or traceback shows; `reveal()` is the one way to it."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The value itself. Whoever calls this says where it goes."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def mint_key() -> Secret:
    """A new API key: a prefix that scanners can find, and 256 bits of randomness."""
    return Secret(KEY_PREFIX + secrets.token_urlsafe(32))


def read_key(text: str) -> Secret:
    """A key that the user gave.

    Raises UsageError when it could not stand in an HTTP header, or is too short to be a lock. A comma
    separates several keys, so none may hold one; vLLM would read a key that begins with - as a flag.
    """
    if not _KEY.fullmatch(text):
        raise UsageError(
            "An API key has 8 to 256 printable ASCII characters, no space, no comma, and no - in front.",
            hint="leave --api-key away: llm-atc makes a key of 256 bits",
        )
    return Secret(text)


def same_key(given: str, expected: Secret) -> bool:
    """Whether two keys are the same, in time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), expected.reveal().encode())


def looks_secret(name: str) -> bool:
    """Whether an environment variable of this name usually holds a secret: HF_TOKEN, DB_PASSWORD, …"""
    return bool(_SECRET_NAME.search(name))
