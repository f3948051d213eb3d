"""Processes that can be told apart from whoever gets their number later. Standard library and Linux only."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RUN_VARIABLE = "LLM_ATC_RUN"
_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process for good: its number, its start in clock ticks since boot, and which boot that was."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Who has this number now; None when nobody has, or only a zombie."""
        stat = read_stat(pid)
        return None if stat is None else cls(pid=pid, start=stat.start, boot=boot_id())

    def alive(self) -> bool:
        """Whether that very process still runs."""
        return Identity.of(self.pid) == self

    def open(self) -> int | None:
        """A descriptor of that very process, to be closed by the caller; None when it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():  # the number cannot pass on while the descriptor is held and the start is the same
            return descriptor
        os.close(descriptor)
        return None

    def end(self, number: signal.Signals, *, wait: float) -> bool:
        """Send the signal and wait so many seconds; whether the process is gone. True when it was before."""
        descriptor = self.open()
        if descriptor is None:
            return True
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(wait * 1000))
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Stat:
    """What `/proc/PID/stat` says of a living process."""

    group: int
    session: int
    start: int


def read_stat(pid: int) -> Stat | None:
    """The process's group, session and start; None when it is gone or a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (OSError, ValueError):
        return None
    state, _, group, session, *rest = text.rpartition(")")[2].split()
    # The fields are numbered in proc(5): state is 3, starttime is 22; four were taken before `rest`.
    return None if state in "ZX" else Stat(int(group), int(session), int(rest[15]))


def boot_id() -> str:
    """This boot of the system: another one after every restart."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def session_members(leader: Identity, run: str) -> tuple[Identity, ...]:
    """Who still lives of the session that this process led, itself left out; nobody after a restart.

    A session's number can pass on too, once all its members are gone. So nobody counts who is in a session
    that another process leads by now, or whose environment is whole and does not name this `run`. (vLLM's
    workers overwrite theirs with a title, and are known by session alone.)
    """
    now = Identity.of(leader.pid)
    if leader.boot != boot_id() or (now is not None and now != leader):
        return ()
    return tuple(found for found in _members(leader) if _of_run(found.pid, run))


def _members(leader: Identity) -> Iterator[Identity]:
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == leader.pid:
            continue
        stat = read_stat(int(entry.name))
        if stat is not None and stat.session == leader.pid and stat.start >= leader.start:
            yield Identity(pid=int(entry.name), start=stat.start, boot=leader.boot)


def _of_run(pid: int, run: str) -> bool:
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to another user
        return False
    # A title is written over the beginning, and may leave later variables as they were.
    return f"{RUN_VARIABLE}={run}".encode() in environ or b"=" not in environ[0]


def kill_session(leader: Identity, run: str, *, wait: float = 5.0) -> bool:
    """Kill whoever is left of the session, newcomers too; whether nobody is. Waits so long for each."""
    for _ in range(100):
        members = session_members(leader, run)
        if not members:
            return True
        for member in members:
            if not member.end(signal.SIGKILL, wait=wait):
                return False  # stuck in the kernel
    return False


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; to be called in the child, before exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
