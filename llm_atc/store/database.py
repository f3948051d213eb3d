"""Deployments in an SQLite database beside the user's other state.

Every command opens it, so it is the standard library's own, and what reads plans is loaded when there is one
to read: a tenth of a second counts where the engine itself takes one.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm_atc.errors import DeploymentBusy
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.timeline import Launch, Span
from llm_atc.ports import Deployment

WAIT = 10.0  # seconds for another command's change
KEPT_LAUNCHES = 500
# Launches are how long they took, and stay when their deployments are gone. Holds are which command works on
# which deployment now: by process, so that a killed one holds nothing.
_TABLES = """
CREATE TABLE IF NOT EXISTS deployments (
    name VARCHAR(63) PRIMARY KEY NOT NULL, plan TEXT NOT NULL, created FLOAT NOT NULL, started FLOAT NOT NULL
);
CREATE TABLE IF NOT EXISTS launches (id INTEGER PRIMARY KEY NOT NULL, launch TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS holds (
    name VARCHAR(63) PRIMARY KEY NOT NULL, verb VARCHAR(20) NOT NULL, host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL, born FLOAT NOT NULL
);
"""


class Database:
    """The Store. One row for each deployment, one for each name that a command works on."""

    def __init__(self, path: Path) -> None:
        """The database in this file, readable by its user alone."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._path = path
        self._written: dict[str, Plan] = {}  # by text: what was written here need not be read again
        with self._open() as connection:
            connection.executescript(_TABLES)

    def get(self, name: str) -> Deployment | None:
        with self._open() as connection:
            row = connection.execute("SELECT * FROM deployments WHERE name = ?", (name,)).fetchone()
            return self._deployment(row, _busy(connection)) if row else None

    def all(self) -> tuple[Deployment, ...]:
        with self._open() as connection:
            busy = _busy(connection)
            rows = connection.execute("SELECT * FROM deployments ORDER BY name").fetchall()
        return tuple(self._deployment(row, busy) for row in rows)

    def save(self, plan: Plan, now: float) -> None:
        text = json.dumps(asdict(plan))
        self._written[text] = plan
        with self._open() as connection:
            connection.execute(
                "INSERT INTO deployments (name, plan, created, started) VALUES (:name, :plan, :now, :now)"
                " ON CONFLICT (name) DO UPDATE SET plan = :plan, started = :now",
                {"name": plan.name, "plan": text, "now": now},
            )

    def forget(self, name: str) -> None:
        with self._open() as connection:
            connection.execute("DELETE FROM deployments WHERE name = ?", (name,))

    def record(self, launch: Launch) -> None:
        with self._open() as connection:
            text = json.dumps(asdict(launch))
            newest = connection.execute("INSERT INTO launches (launch) VALUES (?)", (text,)).lastrowid or 0
            connection.execute("DELETE FROM launches WHERE id <= ?", (newest - KEPT_LAUNCHES,))

    def launches(self) -> tuple[Launch, ...]:
        with self._open() as connection:
            rows = connection.execute("SELECT launch FROM launches ORDER BY id").fetchall()
        return tuple(_launch(json.loads(row["launch"])) for row in rows)

    @contextlib.contextmanager
    def working(self, name: str, verb: str) -> Iterator[None]:
        import psutil

        me = psutil.Process()
        hold = (name, socket.gethostname(), me.pid, me.create_time())
        self._take(hold, verb)
        try:
            yield
        finally:
            with self._open() as connection:
                _let_go(connection, *hold)

    def _take(self, hold: tuple[str, str, int, float], verb: str) -> None:
        for _ in range(3):
            try:
                with self._open() as connection:
                    connection.execute(
                        "INSERT INTO holds (name, host, pid, born, verb) VALUES (?, ?, ?, ?, ?)",
                        (*hold, verb),
                    )
                return
            except sqlite3.IntegrityError:
                self._break_dead(hold[0])
        raise DeploymentBusy(f"{hold[0]} is being worked on by another command.", hint="try again")

    def _break_dead(self, name: str) -> None:
        """Remove a dead process's hold; DeploymentBusy when its process lives."""
        with self._open() as connection:
            row = connection.execute("SELECT * FROM holds WHERE name = ?", (name,)).fetchone()
            if row is None:
                return
            if _lives(row):
                raise DeploymentBusy(
                    f"`llm-atc {row['verb']} {name}` is at work on it"
                    f" (process {row['pid']} on {row['host']}).",
                    hint=f"llm-atc status {name}",
                )
            _let_go(connection, name, row["host"], row["pid"], row["born"])

    def _deployment(self, row: sqlite3.Row, busy: dict[str, str]) -> Deployment:
        text = row["plan"]
        if text not in self._written:
            self._written[text] = _read_plan(text)
        return Deployment(
            name=row["name"],
            plan=self._written[text],
            created=row["created"],
            started=row["started"],
            busy=busy.get(row["name"]),
        )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one change, which is kept at the end, whole, or not at all."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=WAIT)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            with connection:
                yield connection


def _let_go(connection: sqlite3.Connection, name: str, host: str, pid: int, born: float) -> None:
    """End this very process's hold, and nobody's after it."""
    connection.execute(
        "DELETE FROM holds WHERE name = ? AND host = ? AND pid = ? AND born = ?", (name, host, pid, born)
    )


def _read_plan(text: str) -> Plan:
    from pydantic import TypeAdapter

    return TypeAdapter(Plan).validate_json(text)


def _launch(found: dict[str, Any]) -> Launch:
    spans = tuple(Span(stage=Stage(one["stage"]), seconds=one["seconds"]) for one in found.pop("spans"))
    return Launch(**found, spans=spans)


def _busy(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT * FROM holds").fetchall()
    return {
        row["name"]: f"`llm-atc {row['verb']}` is at work (process {row['pid']})"
        for row in rows
        if _lives(row)
    }


def _lives(row: sqlite3.Row) -> bool:
    """Whether the process that took this hold is alive; one on another host counts as alive.

    One that has ended and that nobody waited for, as in a container without an init, is dead.
    """
    import psutil

    if row["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(row["pid"])
        same = abs(process.create_time() - row["born"]) < 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
