"""Deployments in a database: SQLite beside the user's other state, or any that SQLAlchemy can reach."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import TypeAdapter
from sqlalchemy import (
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    select,
)
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from llm_atc.errors import DeploymentBusy
from llm_atc.plan.plan import Plan
from llm_atc.plan.timeline import Launch
from llm_atc.ports import Deployment

_meta = MetaData()
_deployments = Table(
    "deployments",
    _meta,
    Column("name", String(63), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float, nullable=False),
)
# How long launches took; kept when their deployments are gone.
_launches = Table(
    "launches",
    _meta,
    Column("id", Integer, primary_key=True),
    Column("launch", Text, nullable=False),
)
KEPT_LAUNCHES = 500
# Which command works on which deployment now: by process, so that a killed one holds nothing.
_holds = Table(
    "holds",
    _meta,
    Column("name", String(63), primary_key=True),
    Column("verb", String(20), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", Float, nullable=False),
)
_plans: TypeAdapter[Plan] = TypeAdapter(Plan)
_spans: TypeAdapter[Launch] = TypeAdapter(Launch)


class Database:
    """The Store. One row for each deployment, one for each name that a command works on."""

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's, such as `sqlite:////home/me/.llm-atc/state.db`."""
        self._engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _sqlite_waits)
        _meta.create_all(self._engine)

    @classmethod
    def at(cls, path: Path) -> Database:
        """The SQLite database in this file, readable by its user alone."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        return cls(f"sqlite:///{path}")

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def get(self, name: str) -> Deployment | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(_deployments).where(_deployments.c.name == name)).first()
            return self._deployment(row, self._busy().get(name)) if row else None

    def all(self) -> tuple[Deployment, ...]:
        busy = self._busy()
        with self._engine.connect() as connection:
            rows = connection.execute(select(_deployments).order_by(_deployments.c.name)).all()
        return tuple(self._deployment(row, busy.get(row.name)) for row in rows)

    def _deployment(self, row: Row[tuple[object, ...]], busy: str | None) -> Deployment:
        return Deployment(
            name=row.name,
            plan=_plans.validate_json(row.plan),
            created=row.created,
            started=row.started,
            busy=busy,
        )

    def save(self, plan: Plan, now: float) -> None:
        text = _plans.dump_json(plan).decode()
        with self._engine.begin() as connection:
            changed = connection.execute(
                _deployments.update().where(_deployments.c.name == plan.name).values(plan=text, started=now)
            )
            if not changed.rowcount:
                connection.execute(
                    _deployments.insert().values(name=plan.name, plan=text, created=now, started=now)
                )

    def forget(self, name: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(_deployments).where(_deployments.c.name == name))

    def record(self, launch: Launch) -> None:
        with self._engine.begin() as connection:
            made = connection.execute(_launches.insert().values(launch=_spans.dump_json(launch).decode()))
            newest = made.inserted_primary_key[0] if made.inserted_primary_key else 0
            connection.execute(delete(_launches).where(_launches.c.id <= newest - KEPT_LAUNCHES))

    def launches(self) -> tuple[Launch, ...]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(_launches).order_by(_launches.c.id)).all()
        return tuple(_spans.validate_json(row.launch) for row in rows)

    @contextlib.contextmanager
    def working(self, name: str, verb: str) -> Iterator[None]:
        me = psutil.Process()
        hold = {"name": name, "host": socket.gethostname(), "pid": me.pid, "born": me.create_time()}
        self._take(hold | {"verb": verb})
        try:
            yield
        finally:
            with self._engine.begin() as connection:
                connection.execute(delete(_holds).filter_by(**hold))

    def _take(self, hold: dict[str, object]) -> None:
        for _ in range(3):
            try:
                with self._engine.begin() as connection:
                    connection.execute(_holds.insert().values(**hold))
                return
            except IntegrityError:
                self._break_dead(str(hold["name"]))
        raise DeploymentBusy(f"{hold['name']} is being worked on by another command.", hint="try again")

    def _break_dead(self, name: str) -> None:
        """Remove a dead process's hold; DeploymentBusy when its process lives."""
        with self._engine.begin() as connection:
            row = connection.execute(select(_holds).where(_holds.c.name == name)).first()
            if row is None:
                return
            if _lives(row):
                raise DeploymentBusy(
                    f"`llm-atc {row.verb} {name}` is at work on it (process {row.pid} on {row.host}).",
                    hint=f"llm-atc status {name}",
                )
            connection.execute(delete(_holds).filter_by(name=name, pid=row.pid, born=row.born))

    def _busy(self) -> dict[str, str]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(_holds)).all()
        return {
            row.name: f"`llm-atc {row.verb}` is at work (process {row.pid})" for row in rows if _lives(row)
        }


def _lives(row: Row[tuple[object, ...]]) -> bool:
    """Whether the process that took this hold is alive; one on another host counts as alive.

    One that has ended and that nobody waited for, as in a container without an init, is dead.
    """
    if row.host != socket.gethostname():
        return True
    try:
        process = psutil.Process(row.pid)
        same = abs(process.create_time() - row.born) < 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _sqlite_waits(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
