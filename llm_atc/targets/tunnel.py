"""Ways through SSH to endpoints that have no open port: `ssh -L`, watched, and known to other commands."""

from __future__ import annotations

import contextlib
import json
import os
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
_POLL = 0.1
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
        port = local_port or _unused_port()
        if local_port is not None and not is_free(local_port):
            free = next_free(local_port + 1, ())
            raise EngineError(f"Port {local_port} is taken.", hint=f"llm-atc connect {name} --port {free}")
        with self._ssh(name, port, remote_port) as started:
            _wait_open(name, port, started)
            yield f"{LOOPBACK}:{port}"

    def keep(
        self, name: str, remote_port: int, local_port: int | None, report: Reporter, alive: Callable[[], bool]
    ) -> None:
        """Keep a tunnel open until Ctrl-C, and open it again whenever it breaks while `alive()` says so.

        Returns when the machine is no longer there to be reached.
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
        with self._ssh(name, port, remote_port) as started:
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

    @contextlib.contextmanager
    def _ssh(self, name: str, port: int, remote_port: int) -> Iterator[subprocess.Popen[str]]:
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
        words = [program, *login, "-T", "-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{remote_port}"]
        for option, value in options.items():
            words += ["-o", f"{option}={value}"]
        started = subprocess.Popen(
            # Ends with us, however we end: its input is a pipe that nobody else holds.
            [*words, "--", name, "cat >/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
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
            for pipe in (started.stdin, started.stderr):
                if pipe is not None:
                    pipe.close()


def _wait_open(name: str, port: int, started: subprocess.Popen[str]) -> str:
    """Until the tunnel takes connections. Raises CloudError with what `ssh` said."""
    deadline = time.monotonic() + OPEN_SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return f"{LOOPBACK}:{port}"
        time.sleep(_POLL)
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


def _unused_port() -> int:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])
