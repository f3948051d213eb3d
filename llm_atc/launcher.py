"""What llm-atc does, readable from the top: serve, wait, status, stop, start, down; `planning.py` before it.

Every function here says what happens to a request in order, and asks the world through `ports` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from llm_atc.access import Secret
from llm_atc.bill import interrupted, last_look, offer, priced, with_bill
from llm_atc.certificates import Certificate
from llm_atc.doors import certificate_of, door_of, first_key, secrets_for
from llm_atc.errors import AtcError, DeploymentError, DeploymentNotFound, OfferError
from llm_atc.outlook import Outlook, look
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.request import Request
from llm_atc.ports import (
    Deployment,
    MachineState,
    Observation,
    Quote,
    Reporter,
    Secrets,
    World,
)
from llm_atc.reaching import expect_machine, reached, url_of, usage_of
from llm_atc.readiness import wait_until_ready
from llm_atc.recording import recorded, remember
from llm_atc.states import State, state_of

Confirm = Callable[[str], None]
Show = Callable[[Outlook, Quote], None]


class Until(StrEnum):
    """How long `serve` waits: for the job, for the engine's set-up to end, or for an answer."""

    SUBMITTED = "submitted"
    SET_UP = "set up"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a deployment answers, with which key and which certificate; `url` has no trailing slash and no
    /v1."""

    name: str
    model: str
    url: str
    key: Secret | None
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One deployment as it is now. Money is US dollars, `hourly` an hour; `since` is an epoch second.

    `idle` is seconds without a request, `left` seconds until it ends by itself if nobody asks; `hours` is how
    long its machine has run since its last start; `ends` says when it ends by itself, in a sentence.
    """

    name: str
    model: str
    engine: str
    where: str
    state: State
    url: str | None = None
    hourly: float | None = None
    spent: float | None = None
    hours: float | None = None
    idle: float | None = None
    left: float | None = None
    ends: str | None = None
    since: float | None = None
    detail: str | None = None

    @property
    def daily(self) -> float | None:
        """US dollars a day."""
        return None if self.hourly is None else self.hourly * 24


def serve(
    world: World,
    request: Request,
    report: Reporter,
    *,
    confirm: Confirm,
    order: Confirm,
    show: Show = lambda found, quote: None,
    until: Until = Until.READY,
    timeout: float = 3600,
    force: bool | None = False,
) -> Status:
    """From a request to an endpoint that has answered once.

    `confirm` is asked before anything is replaced, `order` before anything that costs money, and after `show`
    was told what is known of it; each raises Declined. `timeout` is seconds, for launch and wait together.
    What is known not to start is refused with the error that says why, unless `force`, which is None for
    commands that do not have it.
    """
    found, decided = _preflight(world, request, report, force=force)
    target = world.target(decided)
    with world.store.working(decided.name, "serve"):
        _check_name_is_ours(world, decided, target.observe(decided.name), confirm)
        secrets = secrets_for(world, decided, dict(request.secrets), request.keys, request.certificate)
        if not decided.place.local:
            quote = priced(decided, world.cloud.quote(decided))
            show(found, quote)
            order(offer(decided, quote))
        put_back = remember(world, decided, secrets)
        world.tunnels.forget(decided.name)
        with recorded(world, decided, "serve", report) as told:
            left = _launch(world, decided, secrets, told, timeout=timeout, failed=put_back)
            if until is not Until.SUBMITTED:
                _wait(world, decided, secrets, told, timeout=left, until=until)
    return status_of(world, decided.name)


def _preflight(
    world: World, request: Request, report: Reporter, *, force: bool | None
) -> tuple[Outlook, Plan]:
    """All that can be known before a start, its warnings told, and the plan in it."""
    found = look(world, request)
    decided = found.startable(force=force)
    for sentence in found.warnings():
        report.note(sentence)
    return found, decided


def serve_in_foreground(world: World, request: Request, report: Reporter, *, force: bool = False) -> None:
    """Serve on this machine in this terminal, until Ctrl-C; EngineFailed when the engine ends by itself."""
    _, decided = _preflight(world, request, report, force=force)
    with world.store.working(decided.name, "serve"):
        seen = world.here.observe(decided.name)
        if seen.machine is MachineState.UP:
            raise DeploymentError(f"{decided.name} runs here already.", hint=f"llm-atc stop {decided.name}")
        secrets = secrets_for(world, decided, dict(request.secrets), request.keys)
        key = first_key(decided, secrets)
        if key is not None and not request.keys:
            report.note(f"Its key: {key.reveal()}")
        world.here.foreground(decided, secrets, report)


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


def _launch(
    world: World,
    decided: Plan,
    secrets: Secrets,
    report: Reporter,
    *,
    timeout: float,
    failed: Callable[[Observation], None] = lambda left: None,
) -> float:
    """Launch, and return how many seconds of `timeout` are left.

    Whatever goes wrong, `failed` is told how the machine is seen then.
    """
    begun = world.clock.now()
    target = world.target(decided)
    report.stage(Stage.SET_UP if decided.place.local else Stage.PROVISION)
    try:
        target.launch(decided, secrets, report, timeout=timeout)
    except (AtcError, KeyboardInterrupt) as error:
        left = last_look(target, decided.name)
        failed(left)
        if isinstance(error, AtcError):
            raise with_bill(error, decided, left) from error
        raise interrupted(decided, left) from error
    if decided.place.local:
        report.stage(Stage.WEIGHTS)  # a machine tells this by itself
    return max(timeout - (world.clock.now() - begun), 1)


def _wait(
    world: World, decided: Plan, secrets: Secrets, report: Reporter, *, timeout: float, until: Until
) -> None:
    target = world.target(decided)
    try:
        with reached(world, decided) as reachable:
            wait_until_ready(
                reachable,
                world.probe,
                world.clock,
                decided,
                door_of(decided, secrets),
                report,
                timeout=timeout,
                running_is_enough=until is Until.SET_UP,
            )
    except AtcError as error:
        raise with_bill(error, decided, last_look(target, decided.name)) from error
    except KeyboardInterrupt as error:
        raise interrupted(decided, last_look(target, decided.name)) from error


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
    """One deployment as it is now; with `fresh` its cloud is asked, not what SkyPilot remembers.

    A private one that no tunnel leads to has no address, and its detail says why.
    """
    deployment = find(world, name)
    decided = deployment.plan
    door = door_of(decided, world.vault.get(name))
    with reached(world, decided, excused=AtcError) as target:
        seen = target.observe(name, fresh=fresh)
        healthy = seen.address is not None and world.probe.healthy(seen.address, door.certificate)
        usage = usage_of(world, decided, door, seen)
    state = state_of(seen, healthy=healthy, busy=deployment.busy is not None)
    running = seen.machine not in (MachineState.ABSENT, MachineState.STOPPED)
    hours = (world.clock.now() - seen.launched) / 3600 if seen.launched and running else None
    spent = hours * seen.hourly if hours is not None and seen.hourly is not None else None
    return Status(
        name=name,
        model=decided.model.ref.name,
        engine=f"{decided.engine} {decided.pin.version}",
        where=seen.resources or str(decided.place),
        state=state,
        url=url_of(world, decided, seen) if running else None,
        hourly=seen.hourly if running else None,
        spent=spent if usage is None or usage.dollars is None else usage.dollars,
        hours=hours,
        idle=usage.idle if usage else None,
        left=usage.left if usage else None,
        ends=None if decided.place.local else str(decided.ending),
        since=seen.launched if running and seen.launched else deployment.started,
        detail=(usage.warning if usage else None) or seen.detail or deployment.busy,
    )


def endpoint(world: World, name: str) -> Endpoint:
    """Where it answers. Raises DeploymentError when nothing of it is up, or nothing leads to it."""
    decided = find(world, name).plan
    target = world.target(decided)
    # Not what is remembered of it: a machine that stopped itself has lost its address, perhaps to a stranger
    # who would answer there, and be given the key.
    seen = target.observe(name)
    door = door_of(decided, world.vault.get(name))
    silent = seen.address is not None and not world.probe.healthy(seen.address, door.certificate)
    if silent and not decided.place.local:
        seen = target.observe(name, fresh=True)  # it may have stopped itself
    url = url_of(world, decided, seen)
    if url is None and decided.private and seen.machine is MachineState.UP:
        raise DeploymentError(
            f"{name} is private, and nothing leads to it now.", hint=f"llm-atc connect {name}"
        )
    if url is None:
        state = "not running" if decided.place.local else f"{seen.machine}"
        raise DeploymentError(f"{name} has no endpoint now: it is {state}.", hint=f"llm-atc start {name}")
    return Endpoint(
        name=name,
        model=decided.model.ref.name,
        url=url,
        key=first_key(decided, world.vault.get(name)),
        certificate=certificate_of(world.vault.get(name)),
    )


def logs(world: World, name: str, *, follow: bool, lines: int | None) -> Iterator[str]:
    """The engine's log of this deployment."""
    return world.target(find(world, name).plan).logs(name, follow=follow, lines=lines)


def stop(world: World, name: str, report: Reporter) -> Status:
    """Stop engine and machine; the disk and everything that `start` needs stay."""
    decided = find(world, name).plan
    with world.store.working(name, "stop"):
        world.target(decided).stop(name, report)
    now = status_of(world, name)
    if now.state is State.GONE:
        raise DeploymentError(
            f"{name} has no machine that could be stopped: it is gone.",
            hint=f"llm-atc start {name}   (or: llm-atc down {name})",
        )
    return now


def start(
    world: World, name: str, report: Reporter, *, until: Until = Until.READY, timeout: float = 3600
) -> Status:
    """Bring a stopped deployment back, or its engine when only that has ended, with the same key.

    One that answers is left alone, and one that is starting is waited for. A secret that is missing is an
    error before any machine starts.
    """
    now = status_of(world, name, fresh=True)
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
        secrets = secrets_for(world, decided, {})
        expect_machine(world, decided)
        world.store.save(decided, world.clock.now())
        world.vault.put(name, secrets)
        with recorded(world, decided, "start", report) as told:
            left = _launch(world, decided, secrets, told, timeout=timeout)
            if until is not Until.SUBMITTED:
                _wait(world, decided, secrets, told, timeout=left, until=until)
    return status_of(world, name)


def extend(world: World, name: str, *, ttl: int | None = None, budget: float | None = None) -> Status:
    """Give it more time (seconds) or money (US dollars), from its limit on, or from now where it has none.

    What runs is told at once; the next start keeps it too.
    """
    deployment = find(world, name)
    decided = deployment.plan
    if decided.place.local:
        raise DeploymentError(f"{name} runs on this machine, without limits.", hint="llm-atc status")
    with world.store.working(name, "extend"):
        now = status_of(world, name, fresh=True)
        if budget is not None and now.hours is not None and now.hourly is None:
            raise OfferError(
                f"The price of {name} is not known, so a budget cannot be kept.", hint="--ttl 2h"
            )
        ending = decided.ending.extended(ttl=ttl, budget=budget, now=world.clock.now())
        changed = replace(decided, ending=ending)
        if now.state in (State.STARTING, State.READY):
            world.cloud.extend(changed)
        world.store.save(changed, deployment.started)
    return status_of(world, name)


def down(world: World, name: str, report: Reporter) -> Status:
    """Remove machine, disk, keys and memory; says what it was and what it cost."""
    decided = find(world, name).plan
    with world.store.working(name, "down"):
        before = _last_status(world, decided)
        target = world.target(decided)
        target.down(name, report)
        left = target.observe(name)
        if left.machine is not MachineState.ABSENT:
            raise DeploymentError(
                f"{name} is not gone: its machine is {left.machine}.", hint=f"llm-atc down {name}"
            )
        world.vault.erase(name)
        world.store.forget(name)
    return before


def _last_status(world: World, decided: Plan) -> Status:
    """What is told of a deployment once it is gone. Where nobody can look any more, its detail says so."""
    try:
        return replace(status_of(world, decided.name), state=State.GONE, url=None, detail=None)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a look, what costs money is removed
        return Status(
            name=decided.name,
            model=decided.model.ref.name,
            engine=f"{decided.engine} {decided.pin.version}",
            where=str(decided.place),
            state=State.GONE,
            detail=f"What it cost is not known: {error}",
        )
