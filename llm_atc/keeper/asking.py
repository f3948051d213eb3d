"""What the keeper asks of engine and relay, over loopback."""

from __future__ import annotations

import http.client
import json
import ssl
from contextlib import closing
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What the relay counts: whether the engine has generated a token, requests now, seconds without one."""

    ready: bool
    in_flight: int
    idle: float


def healthy(port: int, seconds: float) -> bool:
    """Whether the engine's `/health` answers 200."""
    return _get((LOOPBACK, port), "/health", None, seconds)[0] == 200


def use(address: Address, key: str | None, seconds: float, *, tls: bool = False) -> tuple[bool, Use | None]:
    """Whether the relay answers at all, be it that it is too busy; and what it counts, where it says that."""
    status, body = _get(address, "/relay/status", key, seconds, tls=tls)
    if status != 200:
        return status != 0, None
    try:
        told = json.loads(body)
        return True, Use(ready=told["ready"], in_flight=told["in_flight"], idle=told["idle_seconds"])
    except (ValueError, KeyError, TypeError):
        return True, None


def _connection(address: Address, seconds: float, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(*address, timeout=seconds)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # our own relay, on this machine
    return http.client.HTTPSConnection(*address, timeout=seconds, context=context)


def _get(
    address: Address, path: str, key: str | None, seconds: float, *, tls: bool = False
) -> tuple[int, bytes]:
    """Status and body; 0 when nothing answers in time."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        with closing(_connection(address, seconds, tls=tls)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(65536)
    except (OSError, http.client.HTTPException):
        return 0, b""
