"""The only place where adapters meet ports; each is loaded when it is first asked for anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import llm_atc
from llm_atc.ports import World
from llm_atc.store.engine_options import engine_options, known_models

if TYPE_CHECKING:
    from llm_atc.doctor import Check
    from llm_atc.plan.plan import Plan
    from llm_atc.ports import (
        Catalog,
        Engines,
        Models,
        Probe,
        Store,
        TargetForMoney,
        TargetHere,
        Tunnels,
        Vault,
    )
    from llm_atc.settings import Settings

Port = TypeVar("Port")


class SystemClock:
    """The Clock of the system."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def world(settings: Settings) -> World:
    """Every port, filled with what really does it."""
    home = settings.home
    engines, models = later(lambda: _engines(home)), later(lambda: _models(home))
    return World(
        here=later(lambda: _here(home, engines, models)),
        cloud=later(_cloud),
        models=models,
        engines=engines,
        catalog=catalog(settings),
        probe=later(_probe),
        store=later(lambda: _store(home)),
        vault=later(lambda: _vault(home)),
        clock=SystemClock(),
        environ=settings.environ,
        options=engine_options,
        tunnels=later(lambda: _tunnels(home)),
        known=known_models,
    )


def catalog(settings: Settings) -> Catalog:
    """What clouds sell, alone: for commands that ask nothing else of the world."""
    return later(lambda: _catalog(settings.home))


def set_up_checks(settings: Settings) -> tuple[tuple[str, Check], ...]:
    """What `doctor` examines of the set-up, each by name."""
    from llm_atc.config.health import config_file
    from llm_atc.engines.installer import EnginesHere
    from llm_atc.engines.setup_check import disk, engines
    from llm_atc.sources.credentials import buckets, hub
    from llm_atc.targets.local_ports import usual_port
    from llm_atc.targets.sky_setup import skypilot

    return (
        (
            "config",
            lambda: config_file(settings.existing_config(), Path.cwd(), settings.environ, engine_options),
        ),
        ("skypilot", skypilot),
        ("engine", lambda: engines(EnginesHere(settings.home))),
        ("hub", hub),
        ("buckets", buckets),
        ("disk", lambda: disk(settings.home)),
        ("port", usual_port),
    )


def render(plan: Plan) -> str:
    """The plan as a SkyPilot task's text, from the template that ships for it."""
    from llm_atc.render.task import document, task, template_for
    from llm_atc.store.task_templates import load_template

    package = str(Path(llm_atc.__file__).parent)
    return document(plan, task(plan, load_template(template_for(plan)), package), llm_atc.__version__)


class _Later:
    """What `make` makes, made when it is first asked for anything."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._made = cache(make)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)


def later(make: Callable[[], Port]) -> Port:
    """A port whose adapter is loaded at its first use: a command needs few of them, and help none."""
    return cast("Port", _Later(make))


def _here(home: Path, engines: Engines, models: Models) -> TargetHere:
    from llm_atc.targets.local import LocalTarget

    return LocalTarget(home, engines, models)


def _cloud() -> TargetForMoney:
    from llm_atc.targets.sky_vm import SkyVm

    return SkyVm(render)


def _models(home: Path) -> Models:
    from llm_atc.sources.models import AllModels

    return AllModels(home)


def _engines(home: Path) -> Engines:
    from llm_atc.engines.installer import EnginesHere

    return EnginesHere(home)


def _catalog(home: Path) -> Catalog:
    from llm_atc.targets.sky_catalog import SkyCatalog

    return SkyCatalog(home / "catalogue.json", SystemClock())


def _probe() -> Probe:
    from llm_atc.probe import HttpProbe

    return HttpProbe()


def _store(home: Path) -> Store:
    from llm_atc.store.database import Database

    return Database(home / "state.db")


def _vault(home: Path) -> Vault:
    from llm_atc.store.vault import FileVault

    return FileVault(home / "secrets")


def _tunnels(home: Path) -> Tunnels:
    from llm_atc.targets.sky_login import login_words
    from llm_atc.targets.tunnel import SshTunnels

    return SshTunnels(home, login_words)
