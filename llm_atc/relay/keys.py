"""Who may pass: keys compared as digests, in a time that tells nothing of them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256

from llm_atc.access import Secret


class Keyring:
    """The keys that open the relay. An empty one opens for everybody."""

    __slots__ = ("_digests",)

    def __init__(self, keys: Iterable[Secret]) -> None:
        self._digests = tuple(sha256(key.reveal().encode()).digest() for key in keys)

    def opens(self, authorization: bytes | None, x_api_key: bytes | None) -> bool:
        """Whether one of the two headers holds a key. Every key is compared with, also after a match."""
        if not self._digests:
            return True
        matched = False
        for given in (_bearer(authorization), x_api_key):
            if given is not None:
                digest = sha256(given.strip()).digest()
                for expected in self._digests:
                    matched |= hmac.compare_digest(digest, expected)
        return matched


def _bearer(authorization: bytes | None) -> bytes | None:
    """The token of `Bearer TOKEN`; None for any other scheme."""
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(b" ")
    return token if scheme.lower() == b"bearer" else None
