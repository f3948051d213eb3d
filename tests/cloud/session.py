"""A session's directory: a home, the machines' disks, a log; and the certainty that all of it goes away.

Whoever runs the session's region holds a lock on it. A session that nobody holds is dead, and the next one
to start removes its processes and its files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "SIMULATED_REGION_SESSION"  # every process started for a session has this in its environment
KEEP = "LLM_ATC_TEST_KEEP"  # where set, the files of an ended session stay for a look
END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Session:
    """The places of a session; its directory's name is its id."""

    directory: Path

    @classmethod
    def create(cls, cache: Path) -> Session:
        """A new session with empty places; removes dead ones first."""
        sessions = cache / "sessions"
        sessions.mkdir(parents=True, exist_ok=True)
        _remove_dead(sessions)
        session = cls(sessions / secrets.token_hex(4))
        for place in (session.directory, session.home, session.machines):
            place.mkdir(mode=0o755)
        return session

    @property
    def id(self) -> str:
        """What marks the session's processes."""
        return self.directory.name

    @property
    def home(self) -> Path:
        """HOME of all the clients."""
        return self.directory / "home"

    @property
    def machines(self) -> Path:
        """A directory for each machine, with its disk and its console."""
        return self.directory / "machines"

    @property
    def control(self) -> Path:
        """What tests tell the region (see ``control.py``)."""
        return self.directory / "control.json"

    @property
    def log(self) -> Path:
        """What the region did."""
        return self.directory / "region.log"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the session: it counts as alive as long as this process does not leave the block."""
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def processes(self) -> list[int]:
        """The ids of all processes of this session's clients, daemons too; never this process's own."""
        ids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [each for each in ids if each != os.getpid() and self._owns(each)]

    def remove(self) -> None:
        """End every process of the session and delete its files. Quiet when nothing is left."""
        end = time.monotonic() + END_SECONDS
        while processes := self.processes():
            number = signal.SIGTERM if time.monotonic() < end else signal.SIGKILL
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            time.sleep(0.2)
        if not os.environ.get(KEEP):
            shutil.rmtree(self.directory, ignore_errors=True)

    def _owns(self, process: int) -> bool:
        """Whether it has the session's mark, works in its home or has a file open there.

        SkyPilot's workers overwrite their environment with a title, and outlive the server that made them.
        """
        place = Path(f"/proc/{process}")
        with contextlib.suppress(OSError):  # it ended meanwhile
            if f"{MARK}={self.id}".encode() in (place / "environ").read_bytes().split(b"\0"):
                return True
            home = f"{self.home}/"
            links = [place / "cwd", *(place / "fd").iterdir()]
            return any(f"{_target(link)}/".startswith(home) for link in links)
        return False


def _target(link: Path) -> str:
    """Where a link of /proc leads, without the note that the file was deleted; empty when it is gone."""
    with contextlib.suppress(OSError):
        return str(link.readlink()).removesuffix(" (deleted)")
    return ""


def _remove_dead(sessions: Path) -> None:
    youngest = time.time() - 60  # a session is made before its region can hold it
    for directory in sessions.iterdir():
        if directory.stat().st_mtime > youngest and not (directory / "lock").exists():
            continue
        with contextlib.suppress(OSError), Session(directory).held():  # held by another: it lives
            Session(directory).remove()
