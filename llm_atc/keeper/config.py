"""What a keeper is told: its command line, and the task's variables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

STATE = "~/.llm-atc/keeper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the job ends by itself; None for never. `idle` and `ttl` are seconds, `ttl` since the machine's
    start, or since `ttl_since` where that is later; `budget` is US dollars over all starts of this machine,
    or from `budget_since` on, and each of its hours costs `hourly`. `asked` is when a command asked for these
    limits. Moments are epoch seconds."""

    idle: float | None = None
    ttl: float | None = None
    budget: float | None = None
    hourly: float | None = None
    ttl_since: float | None = None
    budget_since: float | None = None
    asked: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient a keeper is, in seconds, and how many starts in a row may fail."""

    tick: float = 1.0
    starts: int = 3
    back_off: float = 2.0
    longest_back_off: float = 60.0
    start: float = 7200.0
    hang: float = 120.0
    unready: float = 240.0  # `hang`, and as long as the relay waits for a first token
    grace: float = 30.0
    killed: float = 120.0  # so long may a system take to end what was killed
    answer: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One engine behind one relay. `once_ready` is a command that runs beside it, once it is ready."""

    engine: tuple[str, ...]
    engine_port: int
    port: int
    key_variable: str
    auth: bool
    relay_arguments: tuple[str, ...] = ()
    once_ready: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    state: Path = Path(STATE)


def read_config(words: list[str], environ: Mapping[str, str]) -> Config:
    """The command line (`… -- ENGINE ARGS`) and the variables. Ends the program where they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m llm_atc.keeper", description=__doc__, allow_abbrev=False)
    parser.add_argument("--engine-port", type=int, required=True, metavar="PORT")
    parser.add_argument("--key-env", required=True, metavar="NAME", help="the variable that holds the keys")
    parser.add_argument("--state", type=Path, default=Path(STATE), metavar="FOLDER")
    parser.add_argument("--once-ready", metavar="MODULE", help="run beside the engine, with the word `put`")
    for name in Pace.__dataclass_fields__:
        default = getattr(Pace(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, metavar="N")
    parser.add_argument("engine", nargs="+", metavar="-- COMMAND")
    given = parser.parse_args(words)
    try:
        return Config(
            engine=tuple(given.engine),
            engine_port=given.engine_port,
            port=int(environ["PORT"]),
            key_variable=given.key_env,
            auth=environ.get("AUTH", "key") != "none",
            once_ready=(sys.executable, "-m", given.once_ready, "put") if given.once_ready else (),
            relay_arguments=tuple(json.loads(environ.get("RELAY_ARGS") or "[]")),
            limits=read_limits(environ),
            pace=Pace(**{name: getattr(given, name) for name in Pace.__dataclass_fields__}),
            state=given.state.expanduser(),
        )
    except (KeyError, ValueError) as error:
        parser.error(f"a variable is missing or wrong: {error}")


def read_limits(environ: Mapping[str, str]) -> Limits:
    """IDLE_MINUTES, TTL_SECONDS, TTL_SINCE, BUDGET_DOLLARS, BUDGET_SINCE, DOLLARS_AN_HOUR and ASKED_AT;
    empty, absent or 0 is none."""

    def number(name: str) -> float | None:
        return float(environ.get(name) or 0) or None

    idle = number("IDLE_MINUTES")
    return Limits(
        idle=idle * 60 if idle else None,
        ttl=number("TTL_SECONDS"),
        budget=number("BUDGET_DOLLARS"),
        hourly=number("DOLLARS_AN_HOUR"),
        ttl_since=number("TTL_SINCE"),
        budget_since=number("BUDGET_SINCE"),
        asked=number("ASKED_AT"),
    )
