"""Engine and relay together, from the job's start to its end."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from llm_atc.keeper.config import Config
from llm_atc.keeper.engine import Engine
from llm_atc.keeper.meter import WARN_BEFORE, Meter, machine_start, write_json
from llm_atc.keeper.process import Process
from llm_atc.keeper.relay import Relay
from llm_atc.keeper.words import dollars, span

LAST_WARNING = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why the job ends; `code` is 0 where that was wanted."""

    why: str
    code: int


class Keeper:
    """Keeps one engine behind one relay until one of the limits is reached, or one of them cannot run."""

    def __init__(self, config: Config) -> None:
        self._config = config
        with suppress(OSError):
            config.state.mkdir(parents=True, exist_ok=True)
        self._notes = config.state / "status.json"
        self._meter = Meter(config.state, config.limits, machine_start(), time.time())
        self._relay = Relay(config, self._notes, say)
        self._engine = Engine(config, say)
        self._warned: dict[str, float] = {}
        self._asked = False
        self._beside: Process | None = None

    def run(self) -> int:
        """Keep them until the end; the job's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ask())
        self._say_limits()
        end = None
        while end is None:
            end = self._step()
            if end is None:
                time.sleep(self._config.pace.tick)
        say(f"{end.why} The job ends, and the machine after it.")
        self._tell(ended=end.why)
        self._relay.end()
        self._engine.end()
        if self._beside is not None:
            self._beside.end(self._config.pace.grace, self._config.pace.killed)
        self._meter.save(time.time(), at_once=True)
        return end.code

    def _ask(self) -> None:
        self._asked = True

    def _step(self) -> End | None:
        if self._asked:
            return End(why="It was told to end.", code=143)
        if relay := self._relay.look():
            return End(why=relay[0], code=relay[1])
        if given_up := self._engine.look(self._relay.ready):
            return End(why=given_up, code=1)
        self._run_beside()
        now = time.time()
        self._meter.save(now)
        left = self._meter.left(now)
        if left is not None and left[0] <= 0:
            return End(why=f"{left[1].capitalize()}.", code=0)
        self._warn(now)
        self._tell()
        return None

    def _run_beside(self) -> None:
        """Begin what is to run once the engine is ready; whatever becomes of it, the engine serves on."""
        if self._beside is not None:
            self._beside.ended()
        elif self._config.once_ready and self._engine.ready:
            keyless = {name: value for name, value in os.environ.items() if name != self._config.key_variable}
            self._beside = Process(self._config.once_ready, keyless)

    def _nearest(self, now: float) -> tuple[float, str] | None:
        """Seconds to the nearest end, and what it is."""
        found = [left] if (left := self._meter.left(now)) else []
        limit, idle = self._config.limits.idle, self._relay.idle
        if limit is not None and idle:
            found.append((max(limit - idle, 0), f"nobody has asked for {span(idle)} (--idle-minutes)"))
        return min(found, default=None)

    def _warning(self, now: float) -> str | None:
        """What ends soon: within ten minutes, or a fifth of the idle time where that is less."""
        nearest = self._nearest(now)
        idle = self._config.limits.idle
        before = (
            min(WARN_BEFORE, idle / 5)
            if idle is not None and nearest and "idle" in nearest[1]
            else WARN_BEFORE
        )
        if nearest is None or nearest[0] > before:
            return None
        return f"ends in {span(nearest[0])}: {nearest[1]}"

    def _warn(self, now: float) -> None:
        """Say in the log what ends soon: when it comes near, and once more in the last minute."""
        warning, nearest = self._warning(now), self._nearest(now)
        if warning is None or nearest is None:
            self._warned.clear()
            return
        kind = nearest[1].rpartition("(")[2]
        last = self._warned.get(kind)
        if last is None or last > LAST_WARNING >= nearest[0]:
            self._warned[kind] = nearest[0]
            say(f"warning: {warning}")

    def _tell(self, *, ended: str | None = None) -> None:
        """Put down what `/relay/status` shows under `keeper`."""
        now = time.time()
        limits, left, spent = self._meter.limits, self._meter.left(now), self._meter.spent(now)
        write_json(
            self._notes,
            {
                "engine": self._engine.state,
                "starts": self._engine.starts,
                "last_end": self._engine.last_end,
                "idle_limit": limits.idle,
                "seconds_left": None if left is None else round(left[0], 1),
                "dollars": None if spent is None else round(spent, 4),
                "budget": limits.budget,
                "warning": ended or self._warning(now),
            },
        )

    def _say_limits(self) -> None:
        limits = self._meter.limits
        said = []
        if limits.idle is not None:
            said.append(f"{span(limits.idle)} without a request")
        if limits.ttl is not None:
            said.append(f"{span(limits.ttl)} after the machine's start")
        if limits.budget is not None and limits.hourly is not None:
            said.append(f"{dollars(limits.budget)} at {dollars(limits.hourly)} an hour")
        elif limits.budget is not None:
            say("warning: the machine's price is not known, so its budget is not kept")
        if self._meter.ledger_damaged:
            say("warning: what earlier starts of this machine cost cannot be read, and does not count")
        say("the job ends after " + ", or after ".join(said) if said else "the job never ends by itself")


def say(sentence: str) -> None:
    """One line of the job's log; quiet where nobody can take it any more."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"[llm-atc] {sentence}\n")
        sys.stdout.flush()
