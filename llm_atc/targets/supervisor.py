"""Keeps one engine and its relay on this machine: `python -m llm_atc.targets.supervisor FOLDER LOCK`.

It reads `spec.json` in the folder, starts both at once, writes the engine's output to a log of bounded size
and tells the truth in `state.json`. The relay owns the endpoint's port; what it says goes to the supervisor's
own output. All three end together:

    SIGTERM to the supervisor       SIGTERM to the engine, SIGKILL to all of it after the grace
    the engine ends                 whatever it left running is killed
    the relay ends                  as SIGTERM
    the supervisor is killed        the kernel kills the relay and the engine's first process
    the folder is removed           as SIGTERM
    its command ends, with `tied`   as SIGTERM

LOCK is a descriptor that holds the folder. It is closed only once `state.json` tells of the engine, so
whoever holds the folder next sees everything that runs, even when the launching command was killed.

The engine's environment is the supervisor's own, but for the keys, which are the relay's: secrets never touch
the disk. Standard library only.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from llm_atc.folders import is_still
from llm_atc.targets.processes import RUN_VARIABLE, Identity, adopt_orphans, die_with, kill_session
from llm_atc.targets.rotation import Log

SPEC, STATE, LOG = "spec.json", "state.json", "engine.log"
_DRAIN = 2.0  # seconds for the last words of an engine that has ended
_BEAT = 2.0  # seconds between looks at the folder
RELAY_VARIABLES = "LLM_ATC_RELAY_"
_OF_EVERY_PROCESS = ("PATH", "HOME", "LANG", "LC_ALL", RUN_VARIABLE)


def write_json(name: str, value: Mapping[str, object], *, folder: int) -> None:
    """Write a file of the opened folder so that a reader sees the old one or the new one, whole."""
    draft = f".{name}.draft"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


class Supervisor:
    """One engine, from its start to its end."""

    def __init__(self, path: Path, folder: int, me: Identity) -> None:
        self._path, self._folder = path, folder
        self._me = me
        with path.joinpath(SPEC).open(encoding="utf-8") as file:
            self._spec: dict[str, Any] = json.load(file)
        self._log = Log(folder, LOG, limit=self._spec["log_bytes"], keep=self._spec["log_files"])
        self._state: dict[str, object] = {
            "run": self._spec["run"],
            "host": self._spec["host"],
            "port": self._spec["port"],
            "engine_port": self._spec["engine_port"],
            "tied": self._spec["tied"],
            "supervisor": {"pid": me.pid, "start": me.start, "boot": me.boot},
        }
        self._asked = False
        self._deadline: float | None = None
        self._exit: int | None = None
        self._relay_exit: int | None = None
        self._copy = _open_copy(self._spec["log_file"])

    def start(self) -> bool:
        """Start engine and relay and register them; False when the engine could not be started."""
        try:
            self._engine = _start(self._spec["argv"], _environment(relay=False), subprocess.PIPE)
        except OSError as error:
            self._log.write(f"{error}\n".encode())
            self._tell("ended", code=127, error=str(error))
            return False
        self._relay = _start(self._spec["relay"], _environment(relay=True), None)
        self._tell("running", engine=self._engine.pid, relay=self._relay.pid, started=time.time())
        return True

    def keep(self, wakeup: int) -> None:
        """Pass the engine's output on until it has ended and said its last; then tell how it ended."""
        assert self._engine.stdout is not None  # noqa: S101 - asked for in start()
        output = self._engine.stdout.fileno()
        os.set_blocking(output, False)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ, self._pump)
            selector.register(wakeup, selectors.EVENT_READ, self._signalled)
            if self._spec["tied"]:
                selector.register(0, selectors.EVENT_READ, self._command_ended)
            while self._exit is None:
                for key, _ in selector.select(self._pause()):
                    if key.data(key.fd) is False:
                        selector.unregister(key.fd)
                self._look_around()
        kill_session(self._me, self._spec["run"])
        self._reap()
        self._drain(output)
        self._engine.stdout.close()
        self._tell("stopped" if self._asked else "ended", code=self._exit, ended=time.time())
        self._log.close()

    def _pump(self, output: int) -> bool:
        """Write what came to the log; False at the end of the output."""
        try:
            chunk = os.read(output, 65536)
        except BlockingIOError:
            return True
        self._log.write(chunk)
        if self._copy is not None:
            with suppress(OSError):
                os.write(self._copy, chunk)
        return bool(chunk)

    def _signalled(self, wakeup: int) -> None:
        if signal.SIGTERM in os.read(wakeup, 4096):
            self._stop()
        self._reap()

    def _command_ended(self, stdin: int) -> bool | None:
        if os.read(stdin, 4096):
            return None
        self._stop()
        return False

    def _look_around(self) -> None:
        if not is_still(self._folder, self._path):  # removed: nobody could find this engine again
            self._stop()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            kill_session(self._me, self._spec["run"])
            self._reap()

    def _pause(self) -> float:
        if self._deadline is None:
            return _BEAT
        return min(max(self._deadline - time.monotonic(), 0.05), _BEAT)

    def _stop(self) -> None:
        if self._asked:
            return
        self._asked = True
        self._tell("stopping")
        self._end_engine()

    def _end_engine(self) -> None:
        self._deadline = self._deadline or time.monotonic() + self._spec["grace"]
        if self._exit is None:
            with suppress(ProcessLookupError):
                os.kill(self._engine.pid, signal.SIGTERM)

    def _reap(self) -> None:
        """Collect every child that has ended: the engine, the relay, and orphans that came to us."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._engine.pid:
                    self._exit = self._engine.returncode = os.waitstatus_to_exitcode(status)
                elif pid == self._relay.pid:
                    self._relay_exit = self._relay.returncode = os.waitstatus_to_exitcode(status)
                    self._relay_ended()

    def _relay_ended(self) -> None:
        """Nobody reaches an engine without its relay: it ends too."""
        if self._exit is None and not self._asked:
            self._state["cause"] = f"its relay ended with {self._relay_exit}"
            self._end_engine()

    def _drain(self, output: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            deadline = time.monotonic() + _DRAIN
            while selector.select(max(deadline - time.monotonic(), 0)):
                if not self._pump(output):
                    return

    def _tell(self, state: str, **more: object) -> None:
        self._state |= {"state": state, **more}
        with suppress(OSError):  # the disk is full, or the folder is gone: the engine goes on all the same
            write_json(STATE, self._state, folder=self._folder)


def _start(argv: list[str], environ: dict[str, str], output: int | None) -> subprocess.Popen[bytes]:
    me = os.getpid()
    return subprocess.Popen(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        process_group=0,
        # One thread runs here and it has taken no lock, so code between fork and exec is safe.
        preexec_fn=lambda: die_with(me),
    )


def _environment(*, relay: bool) -> dict[str, str]:
    """The keys are for the relay, which needs little else; all but them is for the engine."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(RELAY_VARIABLES) is relay or (relay and name in _OF_EVERY_PROCESS)
    }


def _open_copy(path: str | None) -> int | None:
    """The file that the engine's output is written to as well; it grows as long as its owner lets it."""
    if path is None:
        return None
    with suppress(OSError):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return None


def main(argv: list[str]) -> int:
    """Leave the command's session, start the engine, let the command go on, and stay."""
    path, lock = Path(argv[1]), int(argv[2])
    registered, tell = os.pipe()
    if os.fork():
        # The command waits for this process alone: it ends as soon as the engine is registered.
        os.close(tell)
        os.close(lock)
        return 0 if os.read(registered, 1) else 1
    os.close(registered)
    os.setsid()
    adopt_orphans()
    wakeup, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # ignored ones the engine would inherit
    me = Identity.of(os.getpid())
    assert me is not None  # noqa: S101 - it is this very process
    supervisor = Supervisor(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY), me)
    started = supervisor.start()
    os.close(lock)
    os.write(tell, b"1")
    os.close(tell)
    if started:
        supervisor.keep(wakeup)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
