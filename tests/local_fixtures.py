"""Engines on this machine for tests: a stand-in that starts at once, and the real ones, installed once.

The real ones lie in `home` below LLM_ATC_TEST_CACHE, or `~/.cache/llm-atc-tests`, and are kept between runs.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from llm_atc.engines.installer import EnginesHere
from llm_atc.errors import AtcError
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.engine import EngineName, Machine, Pin
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Where
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.ports import Reporter
from llm_atc.targets.local import LocalTarget

T = TypeVar("T")
# Each of xdist's workers has ports of its own: they do not know of each other's deployments.
FIRST_PORT = 21000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PINS = {EngineName.VLLM: vllm.CPU_PIN, EngineName.LLAMA_CPP: llama_cpp.PIN}


@dataclass
class Told:
    """A Reporter that remembers."""

    stages: list[Stage] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class ModelsOnDisk:
    """Models that are directories and files here already."""

    before: Callable[[], None] = lambda: None

    def look(self, ref: ModelRef, token: object) -> ModelSpec:
        return ModelSpec(ref=ref, looked=True)

    def fetch(self, model: ModelSpec, report: Reporter) -> str:
        self.before()
        return model.ref.location


@dataclass
class StandInEngines:
    """Engines whose every pin is the stand-in server, or another executable."""

    executable: str

    def machine(self) -> Machine:
        return Machine(cpus=1, memory=2**30)

    def ensure(self, pin: Pin, report: Reporter) -> str:
        return self.executable


def plan_here(
    name: str,
    location: str = "/models/none",
    *,
    engine: EngineName = EngineName.VLLM,
    arguments: tuple[str, ...] = (),
    port: int | None = None,
    **envs: str,
) -> Plan:
    """A plan for this machine; its port is the first free one from FIRST_PORT on unless one is given."""
    form = Format.GGUF if engine is EngineName.LLAMA_CPP else Format.HUGGING_FACE
    ref = ModelRef(name=name, where=Where.DISK, location=location)
    return Plan(
        name=name,
        place=Place(cloud="local"),
        model=ModelSpec(ref=ref, looked=True, format=form),
        engine=engine,
        pin=PINS[engine],
        arguments=arguments,
        port=port or FIRST_PORT,
        port_fixed=port is not None,
        envs=tuple(envs.items()),
    )


def eventually(ask: Callable[[], T], *, within: float = 20, every: float = 0.02) -> T:
    """What `ask` returns as soon as that is true; fails when the time is over."""
    deadline = time.monotonic() + within
    while not (found := ask()):
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(every)
    return found


def get(address: str | None, path: str = "/health", key: str | None = None) -> tuple[int, dict[str, str]]:
    """The status and body of a GET; 0 when nothing answers."""
    request = urllib.request.Request(f"http://{address}{path}")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.loads(response.read() or "{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}
    except OSError:
        return 0, {}


def up(target: LocalTarget, name: str) -> str:
    """Wait until the deployment answers; its address."""

    def answering() -> str | None:
        address = target.observe(name).address
        return address if get(address)[0] == 200 else None

    return eventually(answering) or ""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the stand-in engine's executable."""
    script = tmp_path_factory.mktemp("bin") / "vllm"
    source = Path(__file__).with_name("stand_in_engine.py").read_text()
    script.write_text(f"#!{sys.executable} -I\n{source}")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


@pytest.fixture
def local_home(tmp_path: Path, stand_in: str) -> Iterator[Path]:
    """A home for local targets; whatever is left running in it is ended after the test."""
    home = tmp_path / "home"
    yield home
    target = LocalTarget(home, StandInEngines(stand_in), ModelsOnDisk(), grace=0.2)
    for folder in home.joinpath("local").glob("*"):
        with suppress(AtcError):
            target.down(folder.name, Told())


@pytest.fixture
def here(local_home: Path, stand_in: str) -> LocalTarget:
    """A local target with the stand-in engine, short of patience and with small logs."""
    return LocalTarget(local_home, StandInEngines(stand_in), ModelsOnDisk(), grace=1.0, log_bytes=8192)


@pytest.fixture(scope="session")
def engines_home() -> Path:
    """Where the tests' real engines lie."""
    root = os.environ.get("LLM_ATC_TEST_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(root) if root else cache / "llm-atc-tests") / "home"


@pytest.fixture(scope="session")
def real_engines(engines_home: Path) -> EnginesHere:
    """The real engines, built by llm-atc itself and not found on PATH."""
    return EnginesHere(engines_home, prefer_own=False)
