"""The engine's side: started, watched, started again, given up.

starting ──ready──► ready        ready: the relay got a token out of it
   │ ended             │ ended; or no answer, or no token, for long: killed
   ▼                   ▼
waiting (back-off) ──► starting  after too many starts in a row that were never ready: given up
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

from llm_atc.keeper.asking import healthy
from llm_atc.keeper.config import Config
from llm_atc.keeper.process import Process
from llm_atc.keeper.words import span

# So long after an engine's end its relay may still think that it is there.
RELAY_MEMORY = 25.0
# An engine that was ready for that long has proved itself: the next end is the first again.
PROVED = 600.0


class Engine:
    """One engine, over all its starts. `look` moves it on; a sentence that it returns ends the job."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config, self._pace, self._say = config, config.pace, say
        self._process: Process | None = None
        self._next = 0.0
        self._asked = 0.0
        self._answered = 0.0
        self._looked = 0.0
        self._unready = 0.0  # seconds that the relay has said, while the engine was ready, that it is not
        self._ready_since = 0.0
        self._unlike_before = False  # the relay has noticed that this start is another one
        self._failed = 0  # starts in a row that were never ready
        self._ends = 0  # ends in a row of engines that had been ready
        self.ready = False
        self.starts = 0
        self.last_end: str | None = None

    @property
    def state(self) -> str:
        """`starting`, `ready` or `waiting`."""
        return "waiting" if self._process is None else "ready" if self.ready else "starting"

    def look(self, relay_says_ready: bool | None) -> str | None:
        """Do what is due now; why it is given up, or None. A relay that cannot be asked says None."""
        now = time.monotonic()
        if self._process is None:
            return self._start() if now >= self._next else None
        code = self._process.ended()
        if code is not None:
            return self._has_ended(self._process.how(code))
        self._ask(self._process, now)
        self._judge_ready(self._process, relay_says_ready, now)
        self._count_unready(relay_says_ready, now)
        if self.ready and now - self._answered > self._pace.hang:
            return self._kill(self._process, f"answered nothing for {span(self._pace.hang)}")
        if self.ready and self._unready > self._pace.unready:
            return self._kill(self._process, f"generated nothing for {span(self._pace.unready)}")
        if not self.ready and self._process.age > self._pace.start:
            return f"The engine was not ready within {span(self._pace.start)}."
        return None

    def end(self) -> None:
        """End it for good, as far as that can be done."""
        if self._process is not None and not self._process.end(self._pace.grace, self._pace.killed):
            self._say("the engine cannot be killed, and is left behind")

    def _start(self) -> str | None:
        self.ready, self._unlike_before = False, self.starts == 0
        self.starts += 1
        try:
            self._process = Process(self._config.engine, self._environment())
        except OSError as error:
            return f"The engine cannot be started: {error}"
        return None

    def _environment(self) -> dict[str, str]:
        """The task's variables, but for the relay's keys and the path to this program."""
        relays = self._config.relay_arguments
        # The words after --tls-env and the like name what only the relay may have.
        hidden = {self._config.key_variable}
        hidden |= {name for flag, name in itertools.pairwise(relays) if flag.endswith("-env")}
        found = {name: value for name, value in os.environ.items() if name not in hidden}
        _, _, rest = found.pop("PYTHONPATH", "").partition(os.pathsep)
        return found | ({"PYTHONPATH": rest} if rest else {})

    def _ask(self, process: Process, now: float) -> None:
        if now - self._asked < min(self._pace.answer, self._pace.hang / 4):
            return
        if healthy(self._config.engine_port, self._pace.answer):
            self._answered = now
        self._asked = time.monotonic()

    def _judge_ready(self, process: Process, relay_says_ready: bool | None, now: float) -> None:
        self._unlike_before |= not relay_says_ready or process.age > RELAY_MEMORY
        if self.ready or not relay_says_ready or not self._unlike_before or self._answered < process.begun:
            return
        self.ready, self._failed, self._ready_since = True, 0, now
        self._say(f"the engine is ready, {span(process.age)} after its start")

    def _count_unready(self, relay_says_ready: bool | None, now: float) -> None:
        """How long it has generated nothing; while the relay cannot be asked, the count stands."""
        if relay_says_ready:
            self._unready = 0.0
        elif relay_says_ready is False:
            self._unready += now - self._looked
        self._looked = now

    def _kill(self, process: Process, why: str) -> str | None:
        """Kill it, to be started again; one that cannot be killed keeps the GPU, and is given up."""
        if process.kill(self._pace.killed):
            return self._has_ended(f"{why}, and was killed")
        return f"The engine {why}, and cannot be killed."

    def _has_ended(self, how: str) -> str | None:
        """Wait before the next start, or give up."""
        now = time.monotonic()
        self._process, self.last_end = None, how
        if self.ready:
            self._ends = 1 if now - self._ready_since > PROVED else self._ends + 1
            wait, counted = self._back_off(self._ends), ""
        else:
            self._failed += 1
            wait, counted = (
                self._back_off(self._failed),
                f" (failed start {self._failed} of {self._pace.starts})",
            )
        self.ready = False
        if self._failed >= self._pace.starts:
            self._say(f"the engine {how}{counted}")
            return f"The engine failed to start {self._failed} times in a row."
        self._next = now + wait
        self._say(f"the engine {how}{counted}: it is started again in {span(wait)}")
        return None

    def _back_off(self, times: int) -> float:
        return float(min(self._pace.back_off * 2 ** (times - 1), self._pace.longest_back_off))
