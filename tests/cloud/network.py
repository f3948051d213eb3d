"""Connections into and out of a machine's network namespace, relayed in user space.

Nothing changes in the network of the machine that the tests run on: no bridge, no route, no firewall rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]

CLONE_NEWNET = 0x40000000
CHUNK = 1 << 16
DIAL_SECONDS = 5.0


def free_port() -> int:
    """A port of the loopback that nobody listens on now.

    Linux gives it to no client for its own end, unless it is set to give nearly all: a server that is started
    again later finds it free.
    """
    end = 60_000
    with contextlib.suppress(OSError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        end = first if first > 25_000 else end
    while True:
        port = 20_000 + secrets.randbelow(end - 20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class NetworkNamespace:
    """The network of a running process: sockets made here listen and connect in that network."""

    # setns(2) moves one thread, and this one comes back after each socket.
    _thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="setns")

    def __init__(self, pid: int) -> None:
        self._descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)

    async def listen(self, host: str, port: int) -> socket.socket:
        """A listening socket at this address inside the namespace."""
        made = await self._socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
        return made

    async def connect(self, host: str, port: int) -> Streams:
        """Streams to a server inside the namespace; OSError or TimeoutError where nobody answers."""
        made = await self._socket()
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.get_running_loop().sock_connect(made, (host, port))
        except BaseException:
            made.close()
            raise
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return await asyncio.open_connection(sock=made)

    def close(self) -> None:
        """Let go of the namespace; sockets made in it live on. Quiet when closed before."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _socket(self) -> socket.socket:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._socket_in_thread)

    def _socket_in_thread(self) -> socket.socket:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _setns(self._descriptor)
            try:
                made = socket.socket()
            finally:
                _setns(home)
        finally:
            os.close(home)
        made.setblocking(False)
        return made


def _setns(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


async def relay(dial: Dial, *, listener: socket.socket, tls: ssl.SSLContext | None = None) -> asyncio.Server:
    """A server that joins each connection to a freshly dialled one, and drops it where dialling fails."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await dial()
        except (OSError, TimeoutError):
            writer.transport.abort()  # the caller sees a reset, as from a closed port
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        for each in (writer, far_writer):
            each.close()

    return await asyncio.start_server(join, sock=listener, ssl=tls)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the sender ends; then tell the receiver so, and leave its other direction open."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:  # TLS ends both directions at once
            writer.close()
    except OSError:
        writer.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on this machine's own network; OSError where the address is taken."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
