"""The only place where adapters meet ports."""

from __future__ import annotations

import time
from pathlib import Path

import llm_atc
from llm_atc.config.health import config_file
from llm_atc.doctor import Check
from llm_atc.engines.installer import EnginesHere
from llm_atc.engines.setup_check import disk, engines
from llm_atc.plan.plan import Plan
from llm_atc.ports import Catalog, World
from llm_atc.probe import HttpProbe
from llm_atc.render.task import document, task, template_for
from llm_atc.settings import Settings
from llm_atc.sources.credentials import buckets, hub
from llm_atc.sources.models import AllModels
from llm_atc.store.database import Database
from llm_atc.store.engine_options import engine_options, known_models
from llm_atc.store.task_templates import load_template
from llm_atc.store.vault import FileVault
from llm_atc.targets.local import LocalTarget
from llm_atc.targets.local_ports import usual_port
from llm_atc.targets.sky_catalog import SkyCatalog
from llm_atc.targets.sky_login import login_words
from llm_atc.targets.sky_setup import skypilot
from llm_atc.targets.sky_vm import SkyVm
from llm_atc.targets.tunnel import SshTunnels


class SystemClock:
    """The Clock of the system."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def world(settings: Settings) -> World:
    """Every port, filled with what really does it."""
    here = EnginesHere(settings.home)
    models = AllModels(settings.home)
    return World(
        here=LocalTarget(settings.home, here, models),
        cloud=SkyVm(render),
        models=models,
        engines=here,
        catalog=catalog(settings),
        probe=HttpProbe(),
        store=Database.at(settings.home / "state.db"),
        vault=FileVault(settings.home / "secrets"),
        clock=SystemClock(),
        environ=settings.environ,
        options=engine_options,
        tunnels=SshTunnels(settings.home, login_words),
        known=known_models,
    )


def set_up_checks(settings: Settings) -> tuple[tuple[str, Check], ...]:
    """What `doctor` examines of the set-up, each by name."""
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


def catalog(settings: Settings) -> Catalog:
    """What clouds sell, alone: for commands that ask nothing else of the world."""
    return SkyCatalog(settings.home / "catalogue.json", SystemClock())


def render(plan: Plan) -> str:
    """The plan as a SkyPilot task's text, from the template that ships for it."""
    package = str(Path(llm_atc.__file__).parent)
    return document(plan, task(plan, load_template(template_for(plan)), package), llm_atc.__version__)
