"""What the launcher asks of the world. Every adapter keeps one of these promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llm_atc.access import Secret
from llm_atc.certificates import Certificate
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.engine import Machine, Pin
from llm_atc.plan.known_models import Known
from llm_atc.plan.model import ModelRef, ModelSpec, Runner
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.offers import Catalogue
from llm_atc.plan.places import Place
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.quota import Allowance
from llm_atc.plan.timeline import Launch

Secrets = Mapping[str, Secret]


class MachineState(StrEnum):
    """The machine as its cloud or this system sees it."""

    ABSENT = "absent"
    STARTING = "starting"
    UP = "up"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class EngineState(StrEnum):
    """The engine's process, or the job that runs it. `ENDED` is a failure; `FINISHED` is an end that was
    wanted: nobody asked for long, or its time or its budget was over."""

    NONE = "none"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a target sees now. `address` is `HOST:PORT`; `hourly` is US dollars an hour, `launched`
    the epoch second since which that is paid; each when known."""

    machine: MachineState
    engine: EngineState = EngineState.NONE
    address: str | None = None
    hourly: float | None = None
    resources: str | None = None
    launched: float | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a launch would take, as a person reads it, and its US dollars an hour when they are known."""

    resources: str
    hourly: float | None
    spot: bool = False


class Reporter(Protocol):
    """Where progress is told. Every call returns at once."""

    def stage(self, stage: Stage) -> None:
        """The given stage has begun; told again, or an earlier one, it changes nothing."""

    def expect(self, seconds: Mapping[Stage, float]) -> None:
        """How long each stage took in earlier launches like this one; empty when there was none."""

    def line(self, text: str) -> None:
        """One line of what SkyPilot or the engine said."""

    def note(self, text: str) -> None:
        """One sentence for the user, which stays on the screen."""


class Target(Protocol):
    """A place where a plan runs under a name: this machine, or a SkyPilot cluster.

    Calls block until the thing is done and may raise CloudError's, EngineError's and DeploymentError's kinds.
    """

    def launch(self, plan: Plan, secrets: Secrets, report: Reporter, *, timeout: float = 3600) -> None:
        """Bring the machine up and start the engine under `plan.name`.

        A stopped machine is started; an engine that runs there is replaced. Returns when the engine's
        process or job exists; it is not ready then. Raises NotReady when a machine could not be had within
        `timeout` seconds, and ends the attempt.
        """

    def observe(self, name: str, *, fresh: bool = False) -> Observation:
        """The truth now. Quiet for a name that was never there: `ABSENT`.

        With `fresh` the cloud itself is asked, which takes seconds, rather than what SkyPilot remembers.
        """

    def stop(self, name: str, report: Reporter) -> None:
        """Stop engine and machine, keeping the disk. Quiet when it is stopped or gone already."""

    def down(self, name: str, report: Reporter) -> None:
        """Remove everything, cancelling a launch under way. Quiet when it is gone already."""

    def logs(self, name: str, *, follow: bool, lines: int | None = None) -> Iterator[str]:
        """The engine's log, last `lines` of it or all; with `follow`, until the engine ends."""


class TargetForMoney(Target, Protocol):
    """A target whose machines cost money."""

    def clouds(self, cloud: str | None) -> tuple[str, ...]:
        """The clouds that can be used now, or the one asked for. Raises CloudNotReady when there is none."""

    def quote(self, plan: Plan) -> Quote:
        """What `launch` would take, without taking it.

        Raises CloudNotReady when the cloud cannot be used, ProvisionFailed when it has nothing like it.
        """

    def allowances(self, plan: Plan) -> tuple[Allowance, ...]:
        """What the account may run of each machine that `launch` would try, in order, where a cloud tells.

        Blocks for seconds. Raises CloudError.
        """

    def extend(self, plan: Plan) -> None:
        """Give the job of `plan.name`, running or starting, the plan's time and budget. Raises CloudError."""


class TargetHere(Target, Protocol):
    """A target on this machine, which can also run an engine in the terminal that asked for it."""

    def check_port(self, plan: Plan) -> None:
        """Raise EngineError when the port that was asked for is another program's or another deployment's."""

    def is_here(self, path: str) -> bool:
        """Whether there is a file or a directory of that absolute path on this machine."""

    def foreground(self, plan: Plan, secrets: Secrets, report: Reporter) -> None:
        """Run the engine here until Ctrl-C or SIGTERM, telling its log by `report.line`.

        Returns when it was asked to end; raises EngineFailed when it ends by itself.
        """


class Tunnels(Protocol):
    """Ways to ports of a machine that nobody else can reach, through SSH."""

    def current(self, name: str) -> str | None:
        """The address here of the tunnel that some command keeps open to this deployment; None without."""

    def forget(self, name: str) -> None:
        """Trust whatever machine answers under this name next. Quiet when none was known."""

    def open(self, name: str, remote_port: int, local_port: int | None = None) -> AbstractContextManager[str]:
        """A tunnel to this port of the machine while the block lasts; its address here.

        Raises CloudError when the machine cannot be reached, EngineError when the port here is taken,
        DeploymentError when another machine answers than before.
        """

    def keep(
        self, name: str, remote_port: int, local_port: int | None, report: Reporter, alive: Callable[[], bool]
    ) -> None:
        """Keep a tunnel open, again whenever it breaks, until Ctrl-C or until `alive()` says no.

        Raises EngineError and DeploymentError as `open` does, each time that it opens one.
        """


class ModelSource(Protocol):
    """A kind of place that models come from."""

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        """Read names and metadata, no weights. Raises ModelError's or SourceError's kinds."""


class Models(Protocol):
    """All places that models come from."""

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        """See ModelSource.look; the place is chosen by the reference."""

    def measure(self, ref: ModelRef, token: Secret | None) -> Facts:
        """Look, and read its files' headers too: what its memory depends on. Raises what look raises."""

    def fetch(self, model: ModelSpec, report: Reporter) -> str:
        """Bring a bucket's checkpoint to this machine, and return what an engine here is to load.

        A path for a bucket or a directory, the repository's id for the hub. What is there already, complete,
        is not copied again.
        """

    def path(self, model: ModelSpec) -> str:
        """What `fetch` returns for this model, with nothing copied and nobody asked."""


class Engines(Protocol):
    """The engines on this machine, each in an environment of its own."""

    def machine(self) -> Machine:
        """What an engine must know of this machine."""

    def ensure(self, pin: Pin, report: Reporter) -> str:
        """The path of the pinned engine's executable, installed first when it is not there.

        Raises EngineError when it cannot be installed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """What the catalogue says of a wish.

    `exact` when it is sold as asked; else `nearest` are the closest that are, as text. `unknown` when nobody
    sells an accelerator of that name; `names` are then all that are sold.
    """

    exact: bool
    nearest: tuple[str, ...] = ()
    unknown: bool = False
    names: tuple[str, ...] = ()


class Catalog(Protocol):
    """What clouds sell."""

    def read(self, clouds: tuple[str, ...] = ()) -> Catalogue:
        """Every machine with a known accelerator that is sold: as read some hours ago, or anew.

        Of the clouds that SkyPilot may use, and of `clouds`; of all where nobody knows which it may use.

        Newer ones that cannot be had leave the old ones, marked stale. Raises CloudError when there are none
        at all. Blocks for a minute at most, and for no time while what was read is fresh.
        """

    def kept(self) -> Catalogue | None:
        """What was read last, however old, at once; None when nothing ever was."""

    def check(self, place: Place, accelerator: Accelerator) -> Sold:
        """Whether this cloud sells it there. Raises OfferError when the region or zone is not that cloud's,
        CloudError when no catalogue can be read. Blocks for half a minute at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an endpoint tells of its use. Times are seconds: `idle` without a request, `left` until the job
    ends by itself as things are; `dollars` are those of all starts of the machine; `warning` says what ends
    soon, and why."""

    idle: float
    left: float | None = None
    dollars: float | None = None
    warning: str | None = None


class Probe(Protocol):
    """Asks an endpoint."""

    def healthy(self, address: str, certificate: Certificate | None = None) -> bool:
        """Whether `/health` answers 200. False, not an error, when nothing answers.

        With a certificate the endpoint is asked by HTTPS, and nobody else is taken for it.
        """

    def answers(
        self,
        address: str,
        model: str,
        runner: Runner,
        key: Secret | None,
        certificate: Certificate | None = None,
    ) -> str | None:
        """Ask for one token, or one embedding. None when it came; else what came instead, in a sentence."""

    def usage(self, address: str, key: Secret | None, certificate: Certificate | None = None) -> Usage | None:
        """How it is used. None where no relay stands before the engine, or it does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is remembered of a launch. Times are seconds since the epoch; `busy` names who works on it now."""

    name: str
    plan: Plan
    created: float
    started: float
    busy: str | None = None


class Store(Protocol):
    """Remembers deployments. Safe with several processes at once."""

    def get(self, name: str) -> Deployment | None:
        """The deployment of that name, or None."""

    def all(self) -> tuple[Deployment, ...]:
        """Every deployment, by name."""

    def save(self, plan: Plan, now: float) -> None:
        """Remember this plan under its name, new or again."""

    def forget(self, name: str) -> None:
        """Remember it no more. Quiet when it is not known."""

    def record(self, launch: Launch) -> None:
        """Keep how long a launch took. Old ones are dropped, the deployment's end changes nothing."""

    def launches(self) -> tuple[Launch, ...]:
        """Every launch that is kept, the oldest first."""

    def working(self, name: str, verb: str) -> AbstractContextManager[None]:
        """Hold the name while a command works on it.

        Raises DeploymentBusy when a living process holds it; a dead one's hold is taken over.
        """


class Vault(Protocol):
    """Keeps the secrets that a later start needs, on this machine, for its user alone."""

    def put(self, name: str, secrets: Secrets) -> None:
        """Keep these for the deployment, in place of what was there."""

    def get(self, name: str) -> Secrets:
        """What is kept; empty when nothing is."""

    def erase(self, name: str) -> None:
        """Keep nothing any more. Quiet when nothing was."""


class Clock(Protocol):
    """Time."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Every port, filled. `bootstrap` makes one; tests make others."""

    here: TargetHere
    cloud: TargetForMoney
    models: Models
    engines: Engines
    catalog: Catalog
    probe: Probe
    store: Store
    vault: Vault
    clock: Clock
    environ: Mapping[str, str]
    options: OptionSets
    tunnels: Tunnels
    known: Known

    def target(self, plan: Plan) -> Target:
        """Where this plan runs."""
        return self.here if plan.place.local else self.cloud
