"""What a relay is told when it starts."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from llm_atc.access import Secret, read_key
from llm_atc.errors import SecretMissing, UsageError

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a port; `Address.parse(str(address)) == address`."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `127.0.0.1:8000`, `[::1]:8000` or `http://127.0.0.1:8000`. Raises UsageError."""
        url = urlsplit(text if "://" in text else f"http://{text}")
        try:
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if url.scheme != "http" or not host or port is None or url.path.strip("/") or url.query:
            raise UsageError(f"{text!r} is no address of a host and a port.", hint="http://127.0.0.1:9100")
        return cls(host=host, port=port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all of them together, may take. Sizes are bytes, times are seconds."""

    header_bytes: int = 32 * 1024
    body_bytes: int = 64 * MIB
    concurrent: int = 512
    connections: int = 4096
    header_seconds: float = 10
    body_seconds: float = 30
    body_bytes_per_second: int = 16 * 1024
    idle_connection_seconds: float = 75
    stalled_seconds: float = 120
    request_seconds: float = 3600
    connect_seconds: float = 5
    drain_seconds: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that a relay is told. No keys: every request passes. No `tls`: plain HTTP."""

    upstream: Address
    listen: Address
    keys: tuple[Secret, ...] = ()
    upstream_key: Secret | None = None
    defaults: Mapping[str, object] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    idle_exit: float | None = None
    tls: ssl.SSLContext | None = None
    notes: Path | None = None


def read_keys(environment: Mapping[str, str], name: str) -> tuple[Secret, ...]:
    """The keys in this variable, with commas between. Raises SecretMissing, and UsageError for a bad one."""
    words = [word.strip() for word in environment.get(name, "").split(",")]
    keys = tuple(read_key(word) for word in words if word)
    if not keys:
        raise SecretMissing(
            f"No API key: the variable {name} is empty or not set.", hint="--no-auth lets everybody in"
        )
    return keys


def read_default(text: str) -> tuple[str, object]:
    """`temperature=0.7` → ("temperature", 0.7): a name, and a value in JSON. Raises UsageError."""
    name, equals, value = text.partition("=")
    try:
        if not equals or not name.isidentifier():
            raise ValueError
        return name, json.loads(value)
    except ValueError:
        raise UsageError(
            f"{text!r} is no name and value in JSON.", hint="--default temperature=0.7"
        ) from None
