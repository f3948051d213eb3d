"""Deployments in an SQLite database beside the user's other state.

Every command opens it, so it is the standard library's own, and what reads plans is loaded when there is one
to read: a tenth of a second counts where the engine itself takes one.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm_atc.errors import AtcError
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.timeline import Launch, Span
from llm_atc.ports import Deployment
from llm_atc.store.holds import Holds

WAIT = 10.0  # seconds for another command's change
KEPT_LAUNCHES = 500
# Launches are how long they took, and stay when their deployments are gone.
_TABLES = """
CREATE TABLE IF NOT EXISTS deployments (
    name VARCHAR(63) PRIMARY KEY NOT NULL, plan TEXT NOT NULL, created FLOAT NOT NULL, started FLOAT NOT NULL
);
CREATE TABLE IF NOT EXISTS launches (id INTEGER PRIMARY KEY NOT NULL, launch TEXT NOT NULL);
"""


class Database:
    """The Store. One row for each deployment; beside the database, who works on which."""

    def __init__(self, path: Path) -> None:
        """The database in this file, readable by its user alone. AtcError where it cannot be used."""
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        self._path = path
        self._holds = Holds(path.parent / "holds")
        self._written: dict[str, Plan] = {}  # by text: what was written here need not be read again
        with self._open() as connection:
            connection.executescript(_TABLES)

    def get(self, name: str) -> Deployment | None:
        with self._open() as connection:
            row = connection.execute("SELECT * FROM deployments WHERE name = ?", (name,)).fetchone()
        return self._deployment(row) if row else None

    def all(self) -> tuple[Deployment, ...]:
        with self._open() as connection:
            rows = connection.execute("SELECT * FROM deployments ORDER BY name").fetchall()
        return tuple(map(self._deployment, rows))

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

    def working(self, name: str, verb: str) -> AbstractContextManager[None]:
        return self._holds.working(name, verb)

    def _deployment(self, row: sqlite3.Row) -> Deployment:
        text, who = row["plan"], self._holds.holder(row["name"])
        if text not in self._written:
            self._written[text] = self._read_plan(row["name"], text)
        return Deployment(
            name=row["name"],
            plan=self._written[text],
            created=row["created"],
            started=row["started"],
            busy=f"`llm-atc {who['verb']}` is at work (process {who['pid']})" if who else None,
        )

    def _read_plan(self, name: str, text: str) -> Plan:
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(Plan).validate_json(text)
        except ValidationError:
            raise AtcError(
                f"What {self._path} has of {name} cannot be read: it is damaged, or of another version of "
                "llm-atc.",
                hint=_set_aside(self._path),
            ) from None

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one change, which is kept at the end, whole, or not at all."""
        with (
            _told(self._path),
            contextlib.closing(sqlite3.connect(self._path, timeout=WAIT)) as connection,
        ):
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            with connection:
                yield connection


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What keeps the file from being used, as an AtcError that names it.

    OperationalError is of the moment or of the place: locked, full, not to be written. Any other error of a
    database is in the file itself.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        why = getattr(error, "strerror", None) or error
        raise AtcError(f"{path} cannot be used: {why}.", hint=f"ls -ld {path.parent} {path}") from None
    except sqlite3.DatabaseError as error:
        raise AtcError(
            f"{path}, where llm-atc keeps its deployments, is damaged: {error}.",
            hint=_set_aside(path),
        ) from None


def _set_aside(path: Path) -> str:
    """The command that lets llm-atc begin anew, and what to look at then."""
    return f"mv {path} {path}.damaged   (it then knows of none: sky status shows machines that cost)"


def _launch(found: dict[str, Any]) -> Launch:
    spans = tuple(Span(stage=Stage(one["stage"]), seconds=one["seconds"]) for one in found.pop("spans"))
    return Launch(**found, spans=spans)
