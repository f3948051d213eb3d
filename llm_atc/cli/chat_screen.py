"""How an answer looks while it comes: Markdown at a terminal, plain text in a pipe, nothing for JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from llm_atc.chat.blocks import finished, printable
from llm_atc.cli.output import talk

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from llm_atc.chat.conversation import ToolCall
    from llm_atc.chat.stream import Piece

SECONDS_A_FRAME = 0.08
SHOWN_OF_A_RESULT = 500
# Asks whether a tool may be called: "y", "n" or "always".
Asker = Callable[[str], str]


class Approval:
    """Which tool calls may be made: what the user says, each time or for good."""

    def __init__(self, ask: Asker | None, *, yes: bool) -> None:
        self._ask, self._yes = ask, yes
        self._always: set[str] = set()

    def __call__(self, call: ToolCall) -> bool:
        """Show the call on stderr, and whether it may be made."""
        console = talk()
        console.print(f"⚙ {printable(call.name)} {printable(call.arguments)}", markup=False, style="cyan")
        if self._yes or call.name in self._always:
            return True
        if self._ask is None:
            console.print("· Declined: there is no terminal to ask on. --yes allows every call.")
            return False
        said = self._ask("Call it? [y/n/always] ").strip().lower()
        if said in ("a", "always"):
            self._always.add(call.name)
        return said in ("y", "yes", "a", "always")


def show_result(text: str) -> None:
    """The beginning of a tool's result, on stderr."""
    shown = printable(text)[:SHOWN_OF_A_RESULT]
    talk().print(shown + ("…" if len(text) > len(shown) else ""), markup=False, style="dim")


class QuietScreen:
    """Shows no answer: it is printed as a whole afterwards."""

    def __init__(self, approval: Approval) -> None:
        self._approval = approval

    def begin(self) -> None:
        pass

    def piece(self, piece: Piece) -> None:
        pass

    def end(self) -> None:
        pass

    def approve(self, call: ToolCall) -> bool:
        return self._approval(call)

    def result(self, call: ToolCall, text: str) -> None:
        show_result(text)


class PlainScreen(QuietScreen):
    """Writes the answer's text to stdout as it comes, and nothing else."""

    _last = "\n"

    def piece(self, piece: Piece) -> None:
        if piece.text:
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            self._last = piece.text[-1]

    def end(self) -> None:
        if self._last != "\n":
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._last = "\n"


class MarkdownScreen(QuietScreen):
    """Renders the answer as it comes: blocks that are over are printed, the last one is drawn anew."""

    def __init__(self, approval: Approval, console: Console) -> None:
        super().__init__(approval)
        self._console = console
        self._live: Live | None = None
        self._text, self._thinking, self._drawn = "", False, 0.0

    def begin(self) -> None:
        from rich.live import Live

        self._text, self._thinking, self._drawn = "", False, 0.0
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def piece(self, piece: Piece) -> None:
        if piece.thought:
            self._thinking = True
            self._console.print(printable(piece.thought), style="dim italic", markup=False, end="")
        if piece.text:
            self._end_thought()
            self._text += printable(piece.text)
            self._settle()
            if time.monotonic() - self._drawn > SECONDS_A_FRAME:
                self._draw()

    def end(self) -> None:
        self._end_thought()
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._print(self._text)
        self._text = ""

    def _end_thought(self) -> None:
        if self._thinking:
            self._console.print()
            self._thinking = False

    def _settle(self) -> None:
        """Print what is over, above what is still drawn anew."""
        cut = finished(self._text)
        if cut:
            self._print(self._text[:cut])
            self._text = self._text[cut:]

    def _print(self, text: str) -> None:
        from rich.markdown import Markdown

        if text.strip():
            self._console.print(Markdown(text, hyperlinks=False), end="\n")

    def _draw(self) -> None:
        from rich.markdown import Markdown

        if self._live is not None:
            self._live.update(Markdown(self._text, hyperlinks=False), refresh=True)
            self._drawn = time.monotonic()
