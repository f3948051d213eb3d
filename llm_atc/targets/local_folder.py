"""The folder of one deployment on this machine: who may change it, and what it says.

spec.json        what to run; no secret's value
state.json       what runs, or how it ended, told by the supervisor
launching.json   the command that is bringing it up now, while it installs and copies
engine.log       what the engine said since it was started last, with engine.log.1 and .2 before it
supervisor.log   what the relay had to say, and the supervisor, which is nothing
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from llm_atc.folders import held
from llm_atc.render.command import LOOPBACK
from llm_atc.targets.processes import Identity
from llm_atc.targets.supervisor import LOG, STATE, write_json

LAUNCHING = "launching.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalState:
    """What `state.json` says. `word` is running, stopping, stopped (as asked) or ended (by itself).

    `port` is the relay's, on `host`; `engine` is the engine's first process, `cause` why it had to end.
    """

    run: str
    word: str
    port: int
    supervisor: Identity
    engine: int | None = None
    host: str = LOOPBACK
    engine_port: int | None = None
    cause: str | None = None
    tied: bool = False
    code: int | None = None
    ended: float | None = None
    error: str | None = None


class Folder:
    """One deployment's folder, which may or may not be there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether anything is there under this name."""
        return self.path.is_dir()

    def held(self, *, make: bool = False) -> AbstractContextManager[int | None]:
        """Hold the folder against every other command; see `folders.held`."""
        return held(self.path, make=make)

    def announce(self) -> str:
        """Make the folder and say that this process is launching; what to ask `announced` for later."""
        me = Identity.of(os.getpid())
        assert me is not None  # noqa: S101 - it is this very process
        launch = uuid.uuid4().hex
        with self.held(make=True) as lock:
            assert lock is not None  # noqa: S101 - it was made
            said = {"launch": launch, "pid": me.pid, "start": me.start, "boot": me.boot}
            write_json(LAUNCHING, said, folder=lock)
        return launch

    def announced(self, launch: str) -> bool:
        """Whether that launch still stands: nobody took the deployment down or launched it again."""
        return self.read(LAUNCHING).get("launch") == launch

    def withdraw(self, launch: str) -> None:
        """That launch is over; the folder goes too when it never held anything else."""
        with self.held() as lock:
            if lock is None or not self.announced(launch):
                return
            self.path.joinpath(LAUNCHING).unlink()
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def launching(self) -> bool:
        """Whether a living command is bringing it up."""
        found = read_identity(self.read(LAUNCHING))
        return found is not None and found.alive()

    def read(self, name: str) -> dict[str, object]:
        """A JSON file of the folder; empty when it is not there."""
        try:
            found = json.loads(self.path.joinpath(name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def state(self) -> LocalState | None:
        """What the supervisor told last; None when none ever did."""
        found = self.read(STATE)
        supervisor = found.get("supervisor")
        identity = read_identity(supervisor) if isinstance(supervisor, dict) else None
        if identity is None:
            return None
        code, ended, error = found.get("code"), found.get("ended"), found.get("error")
        engine, engine_port, cause = found.get("engine"), found.get("engine_port"), found.get("cause")
        return LocalState(
            run=str(found.get("run")),
            word=str(found.get("state")),
            port=int(str(found.get("port"))),
            supervisor=identity,
            engine=engine if isinstance(engine, int) else None,
            host=str(found.get("host") or LOOPBACK),
            engine_port=engine_port if isinstance(engine_port, int) else None,
            cause=str(cause) if cause else None,
            tied=found.get("tied") is True,
            code=code if isinstance(code, int) else None,
            ended=ended if isinstance(ended, float) else None,
            error=str(error) if error else None,
        )

    def say_stopped(self, lock: int) -> None:
        """Say that what ended is meant to be stopped, and forget any launch."""
        self.path.joinpath(LAUNCHING).unlink(missing_ok=True)
        if found := self.read(STATE):
            write_json(STATE, found | {"state": "stopped"}, folder=lock)

    def clear(self) -> None:
        """Forget the run before: its state and its log."""
        self.path.joinpath(STATE).unlink(missing_ok=True)
        for log in self.path.glob(f"{LOG}*"):
            log.unlink()

    def remove(self) -> None:
        """Remove it all; the caller holds it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)


def read_identity(found: Mapping[str, object]) -> Identity | None:
    """The process that a file names; None when it names none."""
    pid, start, boot = found.get("pid"), found.get("start"), found.get("boot")
    if isinstance(pid, int) and isinstance(start, int) and isinstance(boot, str):
        return Identity(pid=pid, start=start, boot=boot)
    return None
