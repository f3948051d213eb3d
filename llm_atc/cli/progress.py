"""Progress by stages: a live display at a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec

from llm_atc.cli.output import talk
from llm_atc.plan.progress import ORDER, Stage

if TYPE_CHECKING:
    from rich.table import Table

P = ParamSpec("P")


class Progress:
    """The Reporter of the command line, and a context that shows it."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._console = talk()
        self._verbose = verbose
        self._begun: dict[Stage, float] = {}
        self._usual: Mapping[Stage, float] = {}
        self._last_line = ""
        self._live = None
        if self._console.is_terminal and not verbose:
            from rich.live import Live

            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=8)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._last_line = ""
        if self._live is not None:
            self._live.stop()

    def pausing(self, say: Callable[P, None]) -> Callable[P, None]:
        """The same question, or whatever else is said, while the live display stands still."""

        def said(*words: P.args, **named: P.kwargs) -> None:
            if self._live is None:
                say(*words, **named)
                return
            self._live.stop()
            try:
                say(*words, **named)
            finally:
                self._live.start()

        return said

    def stage(self, stage: Stage) -> None:
        if stage in self._begun or any(ORDER.index(seen) > ORDER.index(stage) for seen in self._begun):
            return
        self._begun[stage] = time.monotonic()
        if self._live is None:
            start = next(iter(self._begun.values()))
            self._console.print(f"[{self._begun[stage] - start:6.1f} s] {stage}", markup=False)

    def expect(self, seconds: Mapping[Stage, float]) -> None:
        self._usual = seconds
        if seconds:
            self.note(f"Launches like this one took {told(sum(seconds.values()))} before.")

    def line(self, text: str) -> None:
        self._last_line = text
        if self._verbose:
            self._console.print(text, markup=False, style="dim")

    def note(self, text: str) -> None:
        self._console.print(f"· {text}", markup=False)

    def _render(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        begun = list(self._begun.items())
        for position, (stage, start) in enumerate(begun):
            last = position + 1 == len(begun)
            end = now if last else begun[position + 1][1]
            done = not last or stage is Stage.READY
            mark = Text("✓", style="green") if done else Text("…", style="yellow")
            elapsed = "" if stage is Stage.READY else f"{end - start:.0f} s"
            if last and stage in self._usual:
                elapsed += f" of usually {told(self._usual[stage])}"
            table.add_row(mark, str(stage), Text(elapsed, style="dim"))
        if self._last_line:
            table.add_row("", "", Text(self._last_line[: self._console.width - 20], style="dim"))
        return table


def told(seconds: float) -> str:
    """A duration as people say it: `40 s`, `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
