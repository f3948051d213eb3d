"""Ends a machine that nothing else would end: `guard.py --install --minutes 15` has cron call it each minute.

SkyPilot's agent ends a machine on which no job runs. A machine that its cloud rebooted has no agent, and one
whose launch was killed early never got it, or got it and was not armed. After so many minutes this starts the
agent, armed as it was; where it never was armed, or cannot be started, the machine is shut down.

One file, standard library only, any Python 3: it also travels to machines that have nothing else of llm-atc.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

PLACE = Path("/usr/local/lib/llm-atc/guard.py")
TABLE = Path("/etc/cron.d/llm-atc-guard")
LOG = "/var/log/llm-atc-guard.log"
STAMP = Path("/run/llm-atc-guard.json")  # in memory: gone with each boot, and there when the disk is full
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AGENT, KEEPER = b"sky.skylet.skylet", b"llm_atc.keeper"
TICK, WAKE_SECONDS = 60, 180
NEVER_ARMED = 4
# SkyPilot's own Python on the machine, for the user who has it. An autostop holds for one boot.
RUNTIME = (
    "export SKYPILOT_DISABLE_USAGE_COLLECTION=1; . ~/skypilot-runtime/bin/activate; "
    'exec "$(cat ~/.sky/python_path)" -'
)
WAKE = """
import sys, psutil
from sky.skylet import autostop_lib, job_lib
armed = autostop_lib.get_autostop_config()
if armed.boot_time < 0:
    sys.exit(%d)
if armed.autostop_idle_minutes >= 0 and armed.boot_time != psutil.boot_time():
    job_lib.update_status()
    autostop_lib.set_autostop(armed.autostop_idle_minutes, armed.backend, armed.wait_for, armed.down)
from sky.skylet import attempt_skylet
"""


@dataclass(frozen=True)
class Seen:
    """What runs here: SkyPilot's agent; whether it does so in a container; llm-atc's keeper."""

    agent: bool = False
    contained: bool = False
    keeper: bool = False


@dataclass(frozen=True)
class Stamp:
    """What earlier looks found. `since`: when all was last well, in seconds since the boot. `looked`: the
    agent was looked at, and armed, in this boot. `woken`: it was started, and not seen since."""

    since: float
    looked: bool = False
    woken: bool = False


def after_look(before: Stamp | None, now: float, seen: Seen) -> Stamp:
    """The stamp after a look that finds this."""
    if before is None or before.since > now:
        before = Stamp(since=now)
    if not seen.agent:
        return before
    looked = before.looked or seen.contained  # nobody can look into a container from here
    return Stamp(since=now if looked else before.since, looked=looked)


def after_wake(stamp: Stamp, now: float, seen: Seen, code: int) -> Stamp | None:
    """The stamp after an attempt to start and arm the agent that ended so; None: shut the machine down."""
    if code == 0 and not stamp.woken:
        return Stamp(since=now, looked=True, woken=not seen.agent)
    if seen.keeper:  # somebody may be served here: look again after as many minutes
        return replace(stamp, since=now)
    if seen.agent and code != NEVER_ARMED:
        return Stamp(since=now, looked=True)
    return None


def look(patience: float) -> None:
    """Look once at this machine, and do what is due."""
    with STAMP.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # the look before this one still starts the agent
        seen, now = see(), time.clock_gettime(time.CLOCK_BOOTTIME)
        stamp = after_look(_read(), now, seen)
        if now - stamp.since > patience - TICK / 2:
            code = 1 if stamp.woken else _wake()
            say(f"{seen} for {(now - stamp.since) / 60:.0f} minutes; SkyPilot's agent was asked: code {code}")
            due = after_wake(stamp, now, seen, code)
            if due is None:
                _shut_down()
                return
            stamp = due
        STAMP.write_text(json.dumps(asdict(stamp)))


def see(processes: Path = Path("/proc")) -> Seen:
    """What runs on this machine now."""
    seen = Seen()
    for process in processes.glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            command = (process / "cmdline").read_bytes()
            if AGENT in command:
                seen = replace(seen, agent=True, contained=seen.contained or not _is_here(process))
            elif KEEPER in command:
                seen = replace(seen, keeper=True)
    return seen


def _is_here(process: Path) -> bool:
    """Whether it has this machine's root, and not a container's."""
    return (process / "root").samefile("/")


def _read() -> Stamp | None:
    with suppress(OSError, ValueError, TypeError):
        return Stamp(**json.loads(STAMP.read_text()))
    return None


def _wake() -> int:
    """Start SkyPilot's agent, armed as it was; the exit code of that, not 0 where it has no home here."""
    for home in _homes():
        with suppress(OSError, KeyError, subprocess.SubprocessError):
            owner = (home / ".sky" / "python_path").owner()
            # A login, so that it finds what it finds when SkyPilot starts it over SSH.
            command = ["su", "-", owner, "-s", "/bin/bash", "-c", RUNTIME]
            return subprocess.run(
                command, input=(WAKE % NEVER_ARMED).encode(), timeout=WAKE_SECONDS, check=False
            ).returncode
    return 1


def _homes() -> Iterator[Path]:
    return (
        path.parent.parent
        for path in (*Path("/home").glob("*/.sky/python_path"), *Path("/root").glob(".sky/python_path"))
    )


def _shut_down() -> None:
    say("the machine is shut down")
    try:
        subprocess.run(["shutdown", "-h", "now"], check=True)
    except (OSError, subprocess.SubprocessError):
        subprocess.run(["poweroff", "-f"], check=False)


def install(minutes: int) -> str | None:
    """Have cron call this each minute; the reason where that cannot be."""
    if os.geteuid() == 0:
        return put(minutes, PLACE, TABLE)
    words = [sys.executable, str(Path(__file__).resolve()), "--install", "--minutes", str(minutes)]
    try:
        return None if subprocess.run(["sudo", "-n", *words], check=False).returncode == 0 else "no sudo"
    except OSError:
        return "no sudo"


def put(minutes: int, place: Path, table: Path) -> str | None:
    """Put this file to its place and its line into cron's table; the reason where nobody would read that."""
    if not table.parent.is_dir() or not (shutil.which("cron", path=PATH) or shutil.which("crond", path=PATH)):
        return "no cron"
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(shutil.SameFileError):
        shutil.copyfile(__file__, place)
    python = shutil.which("python3", path=PATH) or sys.executable
    table.write_text(f"PATH={PATH}\n* * * * * root {python} {place} --minutes {minutes} >> {LOG} 2>&1\n")
    say(f"guard: where SkyPilot's agent is gone for {minutes} minutes, this machine is ended")
    return None


def say(sentence: str) -> None:
    """One line for whoever reads the log."""
    sys.stdout.write(f"[llm-atc] {sentence}\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and do that."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=int, required=True, help="how long nothing may be there that would end it"
    )
    parser.add_argument("--install", action="store_true", help="have cron call this each minute")
    arguments = parser.parse_args()
    if not arguments.install:
        look(arguments.minutes * 60)
        return
    try:
        hindrance = install(arguments.minutes)
    except OSError as error:
        hindrance = str(error)
    if hindrance:
        say(f"no guard ({hindrance}): where its cloud reboots this machine, nothing ends it")


if __name__ == "__main__":
    main()
