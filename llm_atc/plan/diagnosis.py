"""From an engine's log to one sentence and one piece of advice.

The last line is often generic ("Engine core initialization failed. See root cause above"), so the whole
log is searched for the lines that decide. What the pinned engines really print is kept as files in
`tests/unit/engine_logs/`, made by `python -m tests.engine_failures`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_atc.plan.failure_signs import KILLED, SIGNS

LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why an engine ended: the cause in a sentence, the advice, and the lines that show it."""

    cause: str
    advice: str
    lines: tuple[str, ...] = ()


_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PREFIX = re.compile(r"^(\([^)]*\)\s*)+|^\[[^\]\s]*rank\d[^\]]*\]:?\s*")
# What vLLM and llama-server write before each line: level, time and place.
_HEAD = re.compile(r"^[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]+\] ?|^[\d.]+ [A-Z] (?=\S)")
# Frames of a traceback. The source that they quote may hold a message that was never meant.
_FRAME = re.compile(r"  File \"| {4}")
_MEANINGFUL = re.compile(
    r"error|exception|failed|killed|cannot|could not|refused|denied|invalid", re.IGNORECASE
)
_NOISE = re.compile(r"Traceback|^\s*\^+\s*$|warn|failed to start\.$|too many open files", re.IGNORECASE)
_GENERIC = re.compile(r"[Ss]ee (root cause above|stack trace)|During handling of|direct cause of")


def diagnose(log: str) -> Diagnosis:
    """What a dead engine's log says: the first sign that decides, or the lines that complain."""
    lines = [line for text in log.splitlines() if not _FRAME.match(line := _bare(text))]
    for sign in SIGNS:
        hits = [line for line in lines if sign.pattern.search(line)]
        if hits:
            return Diagnosis(cause=sign.cause, advice=sign.advice, lines=_shown(hits[:3]))
    complaints = [line for line in lines if _MEANINGFUL.search(line) and not _NOISE.search(line)]
    telling = [line for line in complaints if not _GENERIC.search(line)]
    if complaints and not telling:
        return Diagnosis(cause=KILLED[0], advice=KILLED[1], lines=_shown(complaints))
    return Diagnosis(
        cause="The engine ended before it answered.",
        advice="Read its whole log with llm-atc logs",
        lines=_shown(telling) or _shown([line for line in lines if line.strip()]),
    )


def clean(line: str) -> str:
    """A log line without colours and without the prefixes that say which process wrote it."""
    return _PREFIX.sub("", _ANSI.sub("", line)).rstrip()[:LENGTH]


def _bare(line: str) -> str:
    return _HEAD.sub("", _PREFIX.sub("", _ANSI.sub("", line)).rstrip())


def _shown(lines: list[str]) -> tuple[str, ...]:
    """The last eight, each once: the root comes first, and what follows from it repeats it."""
    return tuple(line[:LENGTH] for line in dict.fromkeys(lines))[-8:]
