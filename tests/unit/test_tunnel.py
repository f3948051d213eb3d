"""Tunnels, with a stand-in for `ssh` and real ports: whose port it is that is called a tunnel."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from llm_atc.errors import EngineError
from llm_atc.targets import tunnel
from llm_atc.targets.tunnel import SshTunnels
from tests.fakes import FakeReporter

Ssh = Callable[[str], Path]
FORWARDS = "echo open; exec cat >/dev/null"
CANNOT_BIND = "sleep 0.2; echo 'bind [127.0.0.1]: Address already in use' >&2; exit 255"


@pytest.fixture
def tunnels(tmp_path: Path) -> SshTunnels:
    return SshTunnels(tmp_path, lambda name: ())


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Puts an `ssh` of this shell script in place of the system's; its words, one a line, are in the file."""

    def install(script: str) -> Path:
        program, words = tmp_path / "bin" / "ssh", tmp_path / "words"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >>'{words}'\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setattr(tunnel, "BACK_OFF", (0.0,))
        return words

    return install


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Another program that listens on a port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def nobody_asked(listening: socket.socket) -> bool:
    with pytest.raises(BlockingIOError):
        listening.accept()
    return True


def test_a_tunnel_is_open_once_ssh_forwards(tunnels: SshTunnels, ssh: Ssh) -> None:
    words = ssh(FORWARDS)
    with tunnels.open("demo", 8000) as address:
        port = address.removeprefix("127.0.0.1:")
    told = words.read_text().splitlines()
    assert f"127.0.0.1:{port}:127.0.0.1:8000" in told
    assert "ExitOnForwardFailure=yes" in told


def test_a_port_that_is_taken_is_not_connected(
    tunnels: SshTunnels, ssh: Ssh, stranger: socket.socket
) -> None:
    words, report, port = ssh("echo open; exit 0"), FakeReporter(), port_of(stranger)
    with pytest.raises(EngineError, match=f"Port {port} is taken") as refused:
        tunnels.keep("demo", 8000, port, report, lambda: False)
    assert (refused.value.hint or "").startswith("llm-atc connect demo --port ")
    assert report.notes == []
    assert not words.exists()
    assert nobody_asked(stranger)


def test_a_port_that_is_taken_while_the_tunnel_is_broken_is_not_connected_again(
    tunnels: SshTunnels, ssh: Ssh
) -> None:
    words = ssh("echo open; exit 0")
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = port_of(before)
    with ExitStack() as late:

        def alive() -> bool:
            late.enter_context(socket.create_server(("127.0.0.1", port)))
            return True

        with pytest.raises(EngineError, match=f"Port {port} is taken"):
            tunnels.keep("demo", 8000, port, FakeReporter(), alive)
    assert words.read_text().splitlines().count("-L") == 1


def test_a_stranger_who_takes_the_port_before_ssh_does_is_not_called_a_tunnel(
    tunnels: SshTunnels, ssh: Ssh, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh(CANNOT_BIND)
    monkeypatch.setattr(tunnel, "is_free", lambda port: True)
    report = FakeReporter()
    tunnels.keep("demo", 8000, port_of(stranger), report, lambda: False)
    assert report.notes == []
    assert report.lines == ["demo cannot be reached by SSH: bind [127.0.0.1]: Address already in use"]
    assert nobody_asked(stranger)
