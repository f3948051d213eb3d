"""The ports, kept in memory: small worlds that do what a test tells them and remember what was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llm_atc.access import Secret
from llm_atc.certificates import Certificate
from llm_atc.errors import AtcError, CloudError, EngineError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.architecture import Architecture, Unknown
from llm_atc.plan.ending import Ending
from llm_atc.plan.engine import Machine, Pin
from llm_atc.plan.model import ModelRef, ModelSpec, Runner
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.offers import Catalogue
from llm_atc.plan.papers import Papers
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.quota import Allowance
from llm_atc.plan.weights import Weights
from llm_atc.ports import EngineState, MachineState, Observation, Quote, Reporter, Secrets, Sold, Usage, World
from llm_atc.store.database import Database
from llm_atc.store.engine_options import engine_options, known_models
from llm_atc.store.vault import FileVault

ABSENT = Observation(machine=MachineState.ABSENT)
STOPPED = Observation(machine=MachineState.STOPPED)
NOON = 1_800_000_000.0


def running(port: int = 8000, hourly: float | None = 0.5, launched: float | None = NOON) -> Observation:
    """A machine that is up, with an engine that runs on it."""
    return Observation(
        machine=MachineState.UP,
        engine=EngineState.RUNNING,
        address=f"127.0.0.1:{port}",
        hourly=hourly,
        launched=launched,
    )


def ended(hourly: float | None = 0.5) -> Observation:
    """A machine that is up, whose engine has ended."""
    return Observation(machine=MachineState.UP, engine=EngineState.ENDED, hourly=hourly, launched=NOON)


class FakeClock:
    """A Clock on which sleeping costs no time; `slept` is what was asked for."""

    def __init__(self, now: float = NOON) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class FakeReporter:
    """A Reporter that keeps what it was told."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.expected: dict[Stage, float] = {}

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def expect(self, seconds: Mapping[Stage, float]) -> None:
        self.expected = dict(seconds)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


class FakeTarget:
    """A TargetHere in memory.

    `seen` is what there is under each name. `script` comes before it: the next observations, in order.
    `launch_raises` is raised by the next launches, which leave `leaves` behind. With `log_first`, nothing is
    observed before the log that is being followed was read to its end, which does not come until `log_lasts`
    is set. `unseen` is raised by every look.
    `told` are the limits that were given to what runs.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ports_taken: set[int] = set()
        self.files: set[str] = set()
        self.launched: list[tuple[Plan, dict[str, str]]] = []
        self.told: list[Ending] = []
        self.seen: dict[str, Observation] = {}
        self.script: list[Observation] = []
        self.becomes: Observation = running()
        self.launch_raises: BaseException | None = None
        self.leaves: Observation = ABSENT
        self.unseen: AtcError | None = None
        self.during_launch: Callable[[], None] = lambda: None
        self.down_leaves: Observation = ABSENT
        self.usable: tuple[str, ...] = ("aws", "gcp")
        self.no_clouds: AtcError | None = None
        self.log: tuple[str, ...] = ()
        self.logs_raise: AtcError | None = None
        self.log_first = False
        self.log_lasts: threading.Event | None = None
        self._log_read = threading.Event()
        self.hourly: float | None = 1.5
        self.quotas: tuple[Allowance, ...] = ()

    def clouds(self, cloud: str | None) -> tuple[str, ...]:
        if self.no_clouds is not None:
            raise self.no_clouds
        return (cloud,) if cloud else self.usable

    def allowances(self, plan: Plan) -> tuple[Allowance, ...]:
        return self.quotas

    def quote(self, plan: Plan) -> Quote:
        return Quote(resources=f"{plan.place} {plan.accelerators[0]}", hourly=self.hourly, spot=plan.spot)

    def launch(self, plan: Plan, secrets: Secrets, report: Reporter, *, timeout: float = 3600) -> None:
        self.calls.append(f"launch {plan.name}")
        self.launched.append((plan, {name: secret.reveal() for name, secret in secrets.items()}))
        self.during_launch()
        if self.launch_raises is not None:
            self.seen[plan.name] = self.leaves
            raise self.launch_raises
        self.seen[plan.name] = self.becomes

    def extend(self, plan: Plan) -> None:
        self.calls.append(f"extend {plan.name} {plan.ending.ttl} {plan.ending.budget}")
        self.told.append(plan.ending)

    def is_here(self, path: str) -> bool:
        return path in self.files

    def check_port(self, plan: Plan) -> None:
        if plan.port_fixed and plan.port in self.ports_taken:
            raise EngineError(f"Port {plan.port} is taken.", hint=f"--port {plan.port + 1}")

    def foreground(self, plan: Plan, secrets: Secrets, report: Reporter) -> None:
        self.calls.append(f"foreground {plan.name}")
        self.launched.append((plan, {name: secret.reveal() for name, secret in secrets.items()}))

    def observe(self, name: str, *, fresh: bool = False) -> Observation:
        self.calls.append(f"observe {name}" + (" fresh" if fresh else ""))
        if self.log_first:
            assert self._log_read.wait(10), "nobody followed the log"
        if self.unseen is not None:
            raise self.unseen
        return self.script.pop(0) if self.script else self.seen.get(name, ABSENT)

    def stop(self, name: str, report: Reporter) -> None:
        self.calls.append(f"stop {name}")
        if name in self.seen:
            self.seen[name] = STOPPED

    def down(self, name: str, report: Reporter) -> None:
        self.calls.append(f"down {name}")
        self.seen[name] = self.down_leaves

    def logs(self, name: str, *, follow: bool, lines: int | None = None) -> Iterator[str]:
        if self.logs_raise is not None and not follow:
            raise self.logs_raise
        yield from self.log if lines is None else self.log[-lines:]
        if follow:
            self._log_read.set()
            if self.log_lasts is not None:
                self.log_lasts.wait(10)

    def did(self) -> list[str]:
        """The calls that changed something, in order."""
        return [call for call in self.calls if not call.startswith("observe")]


class FakeModels:
    """Models that are all there, of one shape; `specs` says more of some, `raises` is raised for all."""

    def __init__(self) -> None:
        self.architecture: Architecture | Unknown = Unknown(name="New", reason="it is new")
        self.weights = Weights(bytes=0, parameters=0)
        self.papers = Papers()
        self.specs: dict[str, ModelSpec] = {}
        self.raises: AtcError | None = None
        self.looked: list[tuple[ModelRef, str | None]] = []

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        self.looked.append((ref, token.reveal() if token else None))
        if self.raises is not None:
            raise self.raises
        return self.specs.get(ref.location, ModelSpec(ref=ref, looked=True))

    def measure(self, ref: ModelRef, token: Secret | None) -> Facts:
        spec = self.look(ref, token)
        return Facts(spec=spec, architecture=self.architecture, weights=self.weights, papers=self.papers)

    def fetch(self, model: ModelSpec, report: Reporter) -> str:
        return model.ref.location

    def path(self, model: ModelSpec) -> str:
        return model.ref.location


class FakeCatalog:
    """A Catalog that sells everything, but for what `sold` says and unless `raises` is set.

    `catalogue` is what it has read; `reads` are the clouds that it was asked for, each time.
    """

    def __init__(self) -> None:
        self.catalogue: Catalogue | None = None
        self.reads: list[tuple[str, ...]] = []
        self.sold: dict[Accelerator, Sold] = {}
        self.raises: AtcError | None = None

    def read(self, clouds: tuple[str, ...] = ()) -> Catalogue:
        self.reads.append(clouds)
        if self.catalogue is None:
            raise CloudError("No catalogue.")
        return self.catalogue

    def kept(self) -> Catalogue | None:
        return self.catalogue

    def check(self, place: Place, accelerator: Accelerator) -> Sold:
        if self.raises is not None:
            raise self.raises
        return self.sold.get(accelerator, Sold(exact=True))


class FakeEngines:
    """Engines of a machine with eight cores, sixteen GiB and no GPU."""

    def __init__(self) -> None:
        self.here = Machine(cpus=8, memory=16 * 1024**3, compiler=True)

    def machine(self) -> Machine:
        return self.here

    def ensure(self, pin: Pin, report: Reporter) -> str:
        return f"/engines/{pin.environment}/bin/{pin.engine}"


class FakeTunnels:
    """Tunnels that lead to a port of loopback. `kept` is what `llm-atc connect` keeps open, by name."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.open_now = 0
        self.opened: list[tuple[str, int]] = []
        self.forgotten: list[str] = []
        self.raises: AtcError | None = None

    def current(self, name: str) -> str | None:
        return self.kept.get(name)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    @contextmanager
    def open(self, name: str, remote_port: int, local_port: int | None = None) -> Iterator[str]:
        if self.raises is not None:
            raise self.raises
        self.opened.append((name, remote_port))
        self.open_now += 1
        try:
            yield f"127.0.0.1:{local_port or 40000}"
        finally:
            self.open_now -= 1

    def keep(
        self, name: str, remote_port: int, local_port: int | None, report: Reporter, alive: Callable[[], bool]
    ) -> None:
        self.opened.append((name, remote_port))


class FakeProbe:
    """A Probe whose endpoints are healthy; `replies` are the next answers, None for a good one."""

    def __init__(self) -> None:
        self.health = True
        self.replies: list[str | None] = []
        self.interrupts = False
        self.use: Usage | None = None
        self.certificates: list[Certificate | None] = []
        self.asked: list[tuple[str, str, Runner, str | None]] = []

    def healthy(self, address: str, certificate: Certificate | None = None) -> bool:
        self.certificates.append(certificate)
        return self.health

    def usage(self, address: str, key: Secret | None, certificate: Certificate | None = None) -> Usage | None:
        return self.use

    def answers(
        self,
        address: str,
        model: str,
        runner: Runner,
        key: Secret | None,
        certificate: Certificate | None = None,
    ) -> str | None:
        self.certificates.append(certificate)
        if self.interrupts:
            raise KeyboardInterrupt
        self.asked.append((address, model, runner, key.reveal() if key else None))
        return self.replies.pop(0) if self.replies else None


@dataclass(kw_only=True)
class Fakes:
    """A world of fakes around the real store and vault, each part at hand."""

    folder: Path
    cloud: FakeTarget = field(default_factory=FakeTarget)
    here: FakeTarget = field(default_factory=FakeTarget)
    models: FakeModels = field(default_factory=FakeModels)
    engines: FakeEngines = field(default_factory=FakeEngines)
    catalog: FakeCatalog = field(default_factory=FakeCatalog)
    tunnels: FakeTunnels = field(default_factory=FakeTunnels)
    probe: FakeProbe = field(default_factory=FakeProbe)
    clock: FakeClock = field(default_factory=FakeClock)
    environ: dict[str, str] = field(default_factory=dict)
    report: FakeReporter = field(default_factory=FakeReporter)

    def __post_init__(self) -> None:
        self.store = Database(self.folder / "state.db")
        self.vault = FileVault(self.folder / "secrets")

    @property
    def world(self) -> World:
        """All of it as the launcher takes it."""
        return World(
            here=self.here,
            cloud=self.cloud,
            models=self.models,
            engines=self.engines,
            catalog=self.catalog,
            probe=self.probe,
            store=self.store,
            vault=self.vault,
            clock=self.clock,
            environ=self.environ,
            options=engine_options,
            tunnels=self.tunnels,
            known=known_models,
        )

    def kept(self, name: str) -> dict[str, str]:
        """The secrets that the vault keeps for this deployment, in the clear."""
        return {key: value.reveal() for key, value in self.vault.get(name).items()}
