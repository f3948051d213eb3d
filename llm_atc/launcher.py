"""What llm-atc does, readable from the top: serve, wait, status, stop, start, down; `planning.py` before it.

Every function here says what happens to a request in order, and asks the world through `ports` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from llm_atc.access import Secret, mint_key
from llm_atc.errors import AtcError, DeploymentError, DeploymentNotFound, Interrupted, SecretMissing
from llm_atc.plan.plan import Plan
from llm_atc.plan.price import told
from llm_atc.plan.progress import Stage
from llm_atc.plan.request import Request
from llm_atc.planning import plan
from llm_atc.ports import (
    Deployment,
    EngineState,
    MachineState,
    Observation,
    Quote,
    Reporter,
    Secrets,
    Target,
    World,
)
from llm_atc.readiness import wait_until_ready
from llm_atc.recording import recorded
from llm_atc.states import State, state_of

Confirm = Callable[[str], None]


class Until(StrEnum):
    """How long `serve` waits: for the job, for the engine's set-up to end, or for an answer."""

    SUBMITTED = "submitted"
    SET_UP = "set up"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a deployment answers, and with which key; `url` has no trailing slash and no /v1."""

    name: str
    model: str
    url: str
    key: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One deployment as it is now. Money is US dollars, `hourly` an hour; `since` is an epoch second."""

    name: str
    model: str
    engine: str
    where: str
    state: State
    url: str | None = None
    hourly: float | None = None
    spent: float | None = None
    since: float | None = None
    detail: str | None = None


def serve(
    world: World,
    request: Request,
    report: Reporter,
    *,
    confirm: Confirm,
    order: Confirm,
    until: Until = Until.READY,
    timeout: float = 3600,
) -> Status:
    """From a request to an endpoint that has answered once.

    `confirm` is asked before anything is replaced, `order` before anything that costs money; each raises
    Declined. `timeout` is seconds, for launch and wait together.
    """
    planned = plan(world, request)
    for sentence in (*planned.warnings, *planned.plan.notes):
        report.note(sentence)
    decided = planned.plan
    target = world.target(decided)
    with world.store.working(decided.name, "serve"):
        _check_name_is_ours(world, decided, target.observe(decided.name), confirm)
        secrets = _secrets(world, decided, dict(request.secrets), request.keys)
        if not decided.place.local:
            order(_offer(decided, world.cloud.quote(decided)))
        world.store.save(decided, world.clock.now())
        world.vault.put(decided.name, secrets)
        with recorded(world, decided, "serve", report) as told:
            left = _launch(world, decided, secrets, told, timeout=timeout)
            if until is not Until.SUBMITTED:
                _wait(world, decided, secrets, told, timeout=left, until=until)
    return status_of(world, decided.name)


def serve_in_foreground(world: World, request: Request, report: Reporter) -> None:
    """Serve on this machine in this terminal, until Ctrl-C; EngineFailed when the engine ends by itself."""
    planned = plan(world, request)
    for sentence in (*planned.warnings, *planned.plan.notes):
        report.note(sentence)
    decided = planned.plan
    with world.store.working(decided.name, "serve"):
        seen = world.here.observe(decided.name)
        if seen.machine is MachineState.UP:
            raise DeploymentError(f"{decided.name} runs here already.", hint=f"llm-atc stop {decided.name}")
        secrets = _secrets(world, decided, dict(request.secrets), request.keys)
        key = first_key(decided, secrets)
        if key is not None and not request.keys:
            report.note(f"Its key: {key.reveal()}")
        world.here.foreground(decided, secrets, report)


def _offer(decided: Plan, quote: Quote) -> str:
    """The question before money is spent: what, where, for how much."""
    price = told(quote.hourly) if quote.hourly is not None else "a price that is not known"
    kind = " (spot)" if decided.spot else ""
    return (
        f"Launch {decided.model.ref.name} with {decided.engine} {decided.pin.version} "
        f"on {quote.resources}{kind} for {price}? Nothing stops it by itself."
    )


def _check_name_is_ours(world: World, decided: Plan, seen: Observation, confirm: Confirm) -> None:
    name = decided.name
    known = world.store.get(name)
    if known is None:
        if seen.machine is not MachineState.ABSENT:
            raise DeploymentError(
                f"A cluster called {name} is there already, and llm-atc did not launch it.",
                hint="take another name with -c   (or: sky down " + name + ")",
            )
        return
    if known.plan.place.local is not decided.place.local:
        raise DeploymentError(
            f"{name} is a deployment on {known.plan.place} already.", hint=f"llm-atc down {name}"
        )
    if seen.machine in (MachineState.UP, MachineState.STARTING):
        confirm(f"{name} is serving {known.plan.model.ref.name} on {known.plan.place}. Replace it?")


def _secrets(
    world: World, decided: Plan, given: Mapping[str, Secret], keys: tuple[Secret, ...] = ()
) -> dict[str, Secret]:
    """A value for every secret of the plan: given, kept from before, from the environment, or made.

    Raises SecretMissing, naming the first that has none.
    """
    kept = world.vault.get(decided.name)
    found: dict[str, Secret] = {}
    for name in decided.secret_names:
        if name == decided.key_variable:
            joined = Secret(",".join(key.reveal() for key in keys)) if keys else None
            found[name] = joined or kept.get(name) or mint_key()
        elif name in given:
            found[name] = given[name]
        elif name in kept:
            found[name] = kept[name]
        elif world.environ.get(name):
            found[name] = Secret(world.environ[name])
        else:
            raise SecretMissing(
                f"{decided.name} needs the secret {name}, and neither llm-atc nor your environment has it.",
                hint=f"export {name}=…",
            )
    return found


def _launch(
    world: World,
    decided: Plan,
    secrets: Secrets,
    report: Reporter,
    *,
    timeout: float,
    forget: bool = True,
) -> float:
    """Launch, and return how many seconds of `timeout` are left.

    Whatever goes wrong, with `forget` nothing stays remembered that is not there.
    """
    begun = world.clock.now()
    target = world.target(decided)
    report.stage(Stage.SET_UP if decided.place.local else Stage.PROVISION)
    try:
        target.launch(decided, secrets, report, timeout=timeout)
    except (AtcError, KeyboardInterrupt) as error:
        left = _last_look(target, decided.name)
        if forget and left.machine is MachineState.ABSENT:
            world.vault.erase(decided.name)
            world.store.forget(decided.name)
        if isinstance(error, AtcError):
            raise _with_bill(error, decided, left) from error
        raise _interrupted(decided, left) from error
    if decided.place.local:
        report.stage(Stage.WEIGHTS)  # a machine tells this by itself
    return max(timeout - (world.clock.now() - begun), 1)


def _wait(
    world: World, decided: Plan, secrets: Secrets, report: Reporter, *, timeout: float, until: Until
) -> None:
    target = world.target(decided)
    try:
        wait_until_ready(
            target,
            world.probe,
            world.clock,
            decided,
            first_key(decided, secrets),
            report,
            timeout=timeout,
            running_is_enough=until is Until.SET_UP,
        )
    except AtcError as error:
        raise _with_bill(error, decided, _last_look(target, decided.name)) from error
    except KeyboardInterrupt as error:
        raise _interrupted(decided, _last_look(target, decided.name)) from error


def _last_look(target: Target, name: str) -> Observation:
    """What is there after a failure; the failure itself is told even when nobody can look any more."""
    try:
        return target.observe(name)
    except AtcError:
        return Observation(machine=MachineState.UNKNOWN)


def _with_bill(error: AtcError, decided: Plan, left: Observation) -> AtcError:
    """The same error, which also says what is left running and what that costs."""
    error.details = (*error.details, _left_running(decided, left))
    return error


def _left_running(decided: Plan, left: Observation) -> str:
    here = decided.place.local
    if left.machine is MachineState.ABSENT or (here and left.engine is not EngineState.RUNNING):
        return "Nothing is left running."
    if here:
        return f"{decided.name} still runs here. End it with: llm-atc down {decided.name}"
    if left.machine is MachineState.UNKNOWN:
        return f"Whether its machine is left cannot be seen now. Look with: llm-atc status {decided.name}"
    if left.machine is MachineState.STOPPED:
        return f"The machine of {decided.name} is stopped: only its disk is paid for."
    cost = f" and costs ${left.hourly:.2f} an hour" if left.hourly else ""
    return (
        f"The machine of {decided.name} is still running{cost}. Remove it with: llm-atc down {decided.name}"
    )


def _interrupted(decided: Plan, left: Observation) -> Interrupted:
    return Interrupted(
        "Interrupted.", hint=f"llm-atc status {decided.name}", details=(_left_running(decided, left),)
    )


def first_key(decided: Plan, secrets: Secrets) -> Secret | None:
    """A key that the endpoint takes; None when it asks for none."""
    if not decided.auth or decided.key_variable not in secrets:
        return None
    return Secret(secrets[decided.key_variable].reveal().split(",")[0])


def find(world: World, name: str) -> Deployment:
    """The deployment of that name; DeploymentNotFound tells which there are."""
    found = world.store.get(name)
    if found is None:
        names = ", ".join(d.name for d in world.store.all())
        raise DeploymentNotFound(
            f"No deployment is called {name!r}." + (f" There are: {names}." if names else " There is none."),
            hint="llm-atc status",
        )
    return found


def status_of(world: World, name: str, *, fresh: bool = False) -> Status:
    """One deployment as it is now; with `fresh` its cloud is asked, not what SkyPilot remembers."""
    deployment = find(world, name)
    decided = deployment.plan
    seen = world.target(decided).observe(name, fresh=fresh)
    healthy = seen.address is not None and world.probe.healthy(seen.address)
    state = state_of(seen, healthy=healthy, busy=deployment.busy is not None)
    running = seen.machine not in (MachineState.ABSENT, MachineState.STOPPED)
    hours = (world.clock.now() - seen.launched) / 3600 if seen.launched and running else None
    return Status(
        name=name,
        model=decided.model.ref.name,
        engine=f"{decided.engine} {decided.pin.version}",
        where=seen.resources or str(decided.place),
        state=state,
        url=f"http://{seen.address}" if seen.address and running else None,
        hourly=seen.hourly if running else None,
        spent=hours * seen.hourly if hours is not None and seen.hourly is not None else None,
        since=seen.launched if running and seen.launched else deployment.started,
        detail=seen.detail or deployment.busy,
    )


def endpoint(world: World, name: str) -> Endpoint:
    """Where it answers. Raises DeploymentError when nothing of it is up."""
    decided = find(world, name).plan
    seen = world.target(decided).observe(name)
    if seen.address is None:
        state = "not running" if decided.place.local else f"{seen.machine}"
        raise DeploymentError(f"{name} has no endpoint now: it is {state}.", hint=f"llm-atc start {name}")
    return Endpoint(
        name=name,
        model=decided.model.ref.name,
        url=f"http://{seen.address}",
        key=first_key(decided, world.vault.get(name)),
    )


def logs(world: World, name: str, *, follow: bool, lines: int | None) -> Iterator[str]:
    """The engine's log of this deployment."""
    return world.target(find(world, name).plan).logs(name, follow=follow, lines=lines)


def stop(world: World, name: str, report: Reporter) -> Status:
    """Stop engine and machine; the disk and everything that `start` needs stay."""
    decided = find(world, name).plan
    with world.store.working(name, "stop"):
        world.target(decided).stop(name, report)
    return status_of(world, name)


def start(
    world: World, name: str, report: Reporter, *, until: Until = Until.READY, timeout: float = 3600
) -> Status:
    """Bring a stopped deployment back, or its engine when only that has ended, with the same key.

    One that answers is left alone, and one that is starting is waited for. A secret that is missing is an
    error before any machine starts.
    """
    now = status_of(world, name)
    if now.state is State.READY:
        return now
    if now.state is State.STARTING:
        decided = find(world, name).plan
        _wait(world, decided, world.vault.get(name), report, timeout=timeout, until=until)
        return status_of(world, name)
    return restart(world, name, report, until=until, timeout=timeout)


def restart(
    world: World, name: str, report: Reporter, *, until: Until = Until.READY, timeout: float = 3600
) -> Status:
    """Start machine and engine anew, ending the engine that runs."""
    decided = replace(find(world, name).plan, setup=True)
    with world.store.working(name, "start"):
        secrets = _secrets(world, decided, {})
        world.store.save(decided, world.clock.now())
        world.vault.put(name, secrets)
        with recorded(world, decided, "start", report) as told:
            left = _launch(world, decided, secrets, told, timeout=timeout, forget=False)
            if until is not Until.SUBMITTED:
                _wait(world, decided, secrets, told, timeout=left, until=until)
    return status_of(world, name)


def down(world: World, name: str, report: Reporter) -> Status:
    """Remove machine, disk, keys and memory; says what it was and what it cost."""
    decided = find(world, name).plan
    with world.store.working(name, "down"):
        before = status_of(world, name)
        target = world.target(decided)
        target.down(name, report)
        left = target.observe(name)
        if left.machine is not MachineState.ABSENT:
            raise DeploymentError(
                f"{name} is not gone: its machine is {left.machine}.", hint=f"llm-atc down {name}"
            )
        world.vault.erase(name)
        world.store.forget(name)
    return replace(before, state=State.GONE, url=None, detail=None)
