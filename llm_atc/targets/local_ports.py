"""Which port an engine on this machine is to listen on."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from llm_atc.errors import EngineError
from llm_atc.plan.plan import Plan
from llm_atc.plan.preflight import Finding, ok, warning
from llm_atc.plan.request import DEFAULT_PORT
from llm_atc.render.command import LOOPBACK

_TRIED = 200
_BEHIND = 10000
_LISTENING = "0A"


def reachable(host: str, port: int) -> str:
    """`HOST:PORT` by which this machine reaches what listens there: everywhere is the loopback too."""
    host = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def engine_port(port: int, taken: Collection[int]) -> int:
    """A port of the loopback for the engine behind this one, far from where endpoints are looked for."""
    return next_free(port + _BEHIND if port + _BEHIND < 60000 else port - _BEHIND, taken)


def choose_port(plan: Plan, taken: Mapping[int, str]) -> int:
    """The port asked for, or the plan's own or the next free one when none was.

    `taken` are the ports of other deployments, which may not listen yet. Raises EngineError.
    """
    if not plan.port_fixed:
        return next_free(plan.port, taken)
    if plan.port in taken:
        holder: str | None = f"the deployment {taken[plan.port]}"
    elif is_free(plan.port):
        return plan.port
    else:
        holder = who_listens(plan.port)
    free = next_free(plan.port + 1, taken) if plan.port < 65535 else next_free(8000, taken)
    raise EngineError(f"Port {plan.port} is taken{f' by {holder}' if holder else ''}.", hint=f"--port {free}")


def next_free(first: int, taken: Collection[int]) -> int:
    """The first port from this one on that nobody has. Raises EngineError after two hundred."""
    for port in range(first, min(first + _TRIED, 65536)):
        if port not in taken and is_free(port):
            return port
    raise EngineError(f"No port from {first} on is free.", hint="--port 9000")


def is_free(port: int) -> bool:
    """Whether an engine could listen on this port of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as engines do
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def usual_port(port: int = DEFAULT_PORT) -> Iterator[Finding]:
    """Whether the port that an engine here gets by default is free; the next one is taken where not."""
    if is_free(port):
        yield ok("port", f"Port {port} is free.")
    else:
        says = f"Port {port} is taken by {who_listens(port) or 'another program'}: the next free one is used."
        yield warning("port", says, "llm-atc status")


def who_listens(port: int) -> str | None:
    """The program that listens on this port, such as `nginx (pid 812)`; None when the system hides it."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_one_of(process, sockets):
            with suppress(OSError):
                return f"{process.joinpath('comm').read_text().strip()} (pid {process.name})"
    return None


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _has_one_of(process: Path, sockets: set[str]) -> bool:
    with suppress(OSError):
        for descriptor in process.joinpath("fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in sockets:
                    return True
    return False
