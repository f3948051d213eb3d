"""Ways through SSH to endpoints that have no open port: `ssh -L`, watched, and known to other commands."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from llm_atc.errors import CloudError, DeploymentError, EngineError
from llm_atc.ports import Reporter
from llm_atc.targets.local_ports import is_free, next_free
from llm_atc.targets.processes import Identity

LOOPBACK = "127.0.0.1"
OPEN_SECONDS = 30.0
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)
# What `ssh` runs once it forwards. It ends with us, however we end: nobody else holds the pipe that it reads.
COMMAND = "echo open; cat >/dev/null"
NOBODY = Identity(pid=0, start=0, boot="")


class SshTunnels:
    """See ports.Tunnels. `home/tunnels/NAME.json` tells which one is open; `login` gives what `ssh` has to be
    told before a machine's name.

    A machine's host key is learnt at the first connection after a launch, and held to from then on.
    """

    def __init__(self, home: Path, login: Callable[[str], tuple[str, ...]]) -> None:
        self._folder = home / "tunnels"
        self._login = login

    def current(self, name: str) -> str | None:
        """The address of the tunnel that some command keeps open now."""
        try:
            kept = json.loads((self._folder / f"{name}.json").read_text())
            keeper = Identity(**kept["keeper"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(kept["address"]) if keeper.alive() else None

    def forget(self, name: str) -> None:
        """Trust whatever machine answers next: there is a new one. Quiet when nothing was known."""
        (self._folder / f"{name}.known_hosts").unlink(missing_ok=True)

    @contextlib.contextmanager
    def open(self, name: str, remote_port: int, local_port: int | None = None) -> Iterator[str]:
        """A tunnel while the block lasts; its address here. The system chooses a port when none is given.

        Raises EngineError when the port is taken or there is no `ssh`, CloudError when the machine cannot be
        reached.
        """
        ssh = self._ssh(name)
        port = _unused_port() if local_port is None else _free(name, local_port)
        with _forwarding(ssh, name, port, remote_port) as started:
            yield _wait_open(name, port, started)

    def keep(
        self, name: str, remote_port: int, local_port: int | None, report: Reporter, alive: Callable[[], bool]
    ) -> None:
        """Keep a tunnel open until Ctrl-C, and open it again whenever it breaks while `alive()` says so.

        Returns when the machine is no longer there to be reached. Raises EngineError when the port is taken,
        or is by the time a tunnel is opened again.
        """
        failures = 0
        port = local_port or next_free(remote_port, ())
        while True:
            try:
                self._keep_once(name, remote_port, port, report)
                failures = 0
                report.note(f"The connection to {name} broke.")
            except CloudError as error:
                report.line(error.message)
            if not alive():
                return
            time.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            failures += 1

    def _keep_once(self, name: str, remote_port: int, port: int, report: Reporter) -> None:
        ssh = self._ssh(name)
        with _forwarding(ssh, name, _free(name, port), remote_port) as started:
            address = _wait_open(name, port, started)
            with self._told(name, address):
                report.note(f"{name} answers at http://{address}/v1 while this runs. Ctrl-C ends it.")
                started.wait()

    @contextlib.contextmanager
    def _told(self, name: str, address: str) -> Iterator[None]:
        facts = {"address": address, "keeper": asdict(Identity.of(os.getpid()) or NOBODY)}
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(facts))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _ssh(self, name: str) -> list[str]:
        """The beginning of the command that reaches the machine, and that ends where it cannot forward."""
        program = shutil.which("ssh")
        if program is None:
            raise EngineError("There is no `ssh` on this machine.", hint="apt-get install openssh-client")
        login = self._login(name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = {
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "ControlMaster": "no",
            "ControlPath": "none",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self._folder / f"{name}.known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": name,
            "LogLevel": "ERROR",
        }
        words = [program, *login, "-T"]
        for option, value in options.items():
            words += ["-o", f"{option}={value}"]
        return words


@contextlib.contextmanager
def _forwarding(ssh: list[str], name: str, port: int, remote_port: int) -> Iterator[subprocess.Popen[str]]:
    """The `ssh` that is to forward this port, while the block lasts."""
    started = subprocess.Popen(
        [*ssh, "-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{remote_port}", "--", name, COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(5)
        if started.poll() is None:
            started.kill()
            started.wait()
        for pipe in (started.stdin, started.stdout, started.stderr):
            if pipe is not None:
                pipe.close()


def _wait_open(name: str, port: int, started: subprocess.Popen[str]) -> str:
    """The tunnel's address, once this very `ssh` forwards it. Raises CloudError with what `ssh` said.

    What answers at the port proves nothing, for it may be another program. What the machine says does: `ssh`
    runs no command before it forwards.
    """
    if _heard(started) and started.poll() is None:
        return f"{LOOPBACK}:{port}"
    ended = started.poll() is not None and started.stderr is not None
    said = started.stderr.read().strip() if ended and started.stderr else "it does not answer"
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        raise DeploymentError(
            f"The machine that answers for {name} is another one than before: its SSH host key has changed.",
            hint=f"llm-atc connect {name} --new-host-key   (if you know why)",
        )
    raise CloudError(
        f"{name} cannot be reached by SSH: {said.splitlines()[-1] if said else 'no reason given'}"
    )


def _heard(started: subprocess.Popen[str]) -> bool:
    """Whether the machine's first word came before `ssh` ended, within OPEN_SECONDS."""
    assert started.stdout is not None  # noqa: S101 - asked for in _forwarding
    poll = select.poll()
    poll.register(started.stdout, select.POLLIN)
    if not poll.poll(OPEN_SECONDS * 1000):
        return False
    if os.read(started.stdout.fileno(), 1):
        return True
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(1)
    return False


def _free(name: str, port: int) -> int:
    """The port, while nobody has it. Raises EngineError."""
    if not is_free(port):
        free = next_free(port + 1, ())
        raise EngineError(f"Port {port} is taken.", hint=f"llm-atc connect {name} --port {free}")
    return port


def _unused_port() -> int:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])
