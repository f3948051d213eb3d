"""The relay's side: started, asked what it counts, started again when it is killed or hangs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from llm_atc.keeper.asking import LOOPBACK, Address, Use, use
from llm_atc.keeper.config import Config
from llm_atc.keeper.process import Process
from llm_atc.keeper.words import span

IDLE = 10  # the relay's exit code where nobody asked for as long as --idle-exit says
BRIEF = 5.0  # a relay that ends sooner after its start, or never answered, cannot do its work here
MOST_BRIEF = 5
LISTENS = 30.0  # so much longer may its first answer take
TLS = "--tls-env"


class Relay:
    """One relay, over all its starts."""

    def __init__(self, config: Config, notes: Path, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._argv = _argv(config, notes)
        words = (word.strip() for word in os.environ.get(config.key_variable, "").split(","))
        self._key = next(filter(None, words), None) if config.auth else None
        self._address = _address(self._argv)
        self._tls = TLS in config.relay_arguments
        self._process: Process | None = None
        self._brief = 0
        self._next = 0.0
        self._used: Use | None = None
        self._asked = 0.0
        self._answered: float | None = None  # when it last did, since its last start

    @property
    def ready(self) -> bool | None:
        """Whether it has got a token out of the engine; None while it cannot be asked."""
        return None if self._used is None else self._used.ready

    @property
    def idle(self) -> float:
        """Seconds without a request: 0 while there is one, or while nobody can tell."""
        if self._used is None or self._used.in_flight or not self._used.idle:
            return 0.0
        return self._used.idle + time.monotonic() - self._asked

    def look(self) -> tuple[str, int] | None:
        """Do what is due now; when the job is to end, why and with which exit code."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next:
                self._process = Process(self._argv, os.environ)
            return None
        code = self._process.ended()
        if code is not None:
            return self._has_ended(self._process, code)
        if now - self._asked >= self._config.pace.tick:
            self._ask()
        if self._silent(self._process) > self._config.pace.hang:
            return self._kill(self._process)
        return None

    def end(self) -> None:
        """Let it finish what it is working on, and end it, as far as that can be done."""
        pace = self._config.pace
        if self._process is not None and not self._process.end(pace.grace, pace.killed):
            self._say("the relay cannot be killed, and is left behind")

    def _ask(self) -> None:
        answers, self._used = use(self._address, self._key, self._config.pace.answer, tls=self._tls)
        self._asked = time.monotonic()
        if answers:
            self._answered = self._asked

    def _silent(self, process: Process) -> float:
        """Seconds that it has answered nothing; a new one is given time to listen."""
        return process.age - LISTENS if self._answered is None else time.monotonic() - self._answered

    def _kill(self, process: Process) -> tuple[str, int] | None:
        silence = f"answered nothing for {span(self._silent(process))}"
        if process.kill(self._config.pace.killed):
            return self._start_again(process, f"{silence}, and was killed")
        return f"The relay {silence}, and cannot be killed.", 1

    def _has_ended(self, process: Process, code: int) -> tuple[str, int] | None:
        limit = self._config.limits.idle
        if code == IDLE and limit is not None:
            return f"Nobody has asked for {span(limit)}.", 0
        return self._start_again(process, process.how(code))

    def _start_again(self, process: Process, how: str) -> tuple[str, int] | None:
        """Start it at the next look, after a pause where it was of no use; give up after many of those."""
        useless = process.age < BRIEF or self._answered is None
        self._brief = self._brief + 1 if useless else 0
        if self._brief >= MOST_BRIEF:
            return f"The relay ended at once, or answered nothing, {self._brief} times in a row.", 1
        self._say(f"the relay {how}: it is started again")
        self._process, self._used, self._answered = None, None, None
        self._next = time.monotonic() + (self._config.pace.tick if self._brief else 0)
        return None


def _argv(config: Config, notes: Path) -> list[str]:
    listen = ["--upstream", f"http://127.0.0.1:{config.engine_port}", "--listen", f"0.0.0.0:{config.port}"]
    lock = ["--key-env", config.key_variable] if config.auth else ["--no-auth"]
    idle = [] if config.limits.idle is None else ["--idle-exit", str(config.limits.idle)]
    relay = [sys.executable, "-m", "llm_atc.relay", *listen, *lock, *idle, "--notes", str(notes)]
    return [*relay, *config.relay_arguments]


def _address(argv: list[str]) -> Address:
    """Where this relay can be asked from here: what it listens on last, and loopback for all addresses."""
    last = len(argv) - 1 - argv[::-1].index("--listen")
    host, _, port = argv[last + 1].rpartition(":")
    host = host.strip("[]")
    return (LOOPBACK if host in ("", "0.0.0.0") else "::1" if host == "::" else host), int(port)  # noqa: S104
