"""What is broken, in the set-up or in one deployment, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from llm_atc.doors import Door, door_of
from llm_atc.errors import AtcError
from llm_atc.launcher import find
from llm_atc.plan.diagnosis import diagnose
from llm_atc.plan.plan import Plan
from llm_atc.plan.preflight import Finding, broken, of_broken, ok, unknown, warning
from llm_atc.ports import EngineState, MachineState, Observation, World
from llm_atc.reaching import reached

LOG_LINES = 2000
Check = Callable[[], Iterable[Finding]]


def examined(checks: Iterable[tuple[str, Check]]) -> tuple[Finding, ...]:
    """What each check finds, all asked at once, in the order in which they stand."""
    every = tuple(checks)
    with ThreadPoolExecutor(max(1, len(every)), thread_name_prefix="doctor") as threads:
        found = threads.map(lambda one: tuple(_guarded(*one)), every)
        return tuple(finding for findings in found for finding in findings)


def _guarded(name: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except AtcError as error:
        yield of_broken(name, error)


def of_deployment(world: World, name: str) -> tuple[Finding, ...]:
    """What is true of one deployment, from its machine to its answers. Raises DeploymentNotFound."""
    decided = find(world, name).plan
    with reached(world, decided) as target:
        try:
            seen = target.observe(name, fresh=True)
        except AtcError as error:
            return (of_broken("machine", error),)
        findings = [_machine(decided, seen), _engine(decided, seen)]
        if seen.machine is MachineState.UP:
            if seen.engine is EngineState.ENDED:
                findings += _last_words(world, decided)
            elif seen.address is not None:
                findings += _endpoint(world, decided, seen.address)
        return tuple(findings)


def _machine(decided: Plan, seen: Observation) -> Finding:
    where = seen.resources or str(decided.place)
    match seen.machine:
        case MachineState.UP:
            return ok("machine", f"It is up: {where}.")
        case MachineState.STARTING:
            return warning("machine", "It is being brought up.", f"llm-atc logs {decided.name} -f")
        case MachineState.STOPPED:
            return broken("machine", "It is stopped.", f"llm-atc start {decided.name}")
        case MachineState.ABSENT:
            return broken("machine", "It is gone.", f"llm-atc start {decided.name}")
        case MachineState.UNKNOWN:
            says = f"What became of it is not known. {seen.detail or ''}".strip()
            return broken("machine", says, f"llm-atc status {decided.name}")


def _engine(decided: Plan, seen: Observation) -> Finding:
    what = "process" if decided.place.local else "job"
    match seen.engine:
        case EngineState.RUNNING:
            return ok("engine", f"The engine's {what} runs.")
        case EngineState.STARTING:
            return warning("engine", f"The engine's {what} starts.", f"llm-atc logs {decided.name} -f")
        case EngineState.ENDED:
            return broken("engine", f"The engine's {what} has ended.", f"llm-atc restart {decided.name}")
        case EngineState.FINISHED:
            says = f"The engine's {what} has ended as it was to: {decided.ending}"
            return warning("engine", says, f"llm-atc start {decided.name}")
        case EngineState.NONE:
            return broken("engine", f"No {what} of an engine is there.", f"llm-atc start {decided.name}")


def _last_words(world: World, decided: Plan) -> list[Finding]:
    try:
        log = "\n".join(world.target(decided).logs(decided.name, follow=False, lines=LOG_LINES))
    except AtcError as error:
        return [of_broken("log", error)]
    found = diagnose(log)
    return [broken("log", " ".join((found.cause, *found.lines[:1])), found.advice)]


def _endpoint(world: World, decided: Plan, address: str) -> list[Finding]:
    """The port as it is reached from here, health, the key, and one answer."""
    name = decided.name
    door = door_of(decided, world.vault.get(name))
    if not world.probe.healthy(address, door.certificate):
        inside = f"ssh {name} curl -s 127.0.0.1:{decided.port}/health"
        where = "from this machine" if decided.place.local else "from outside"
        cure = f"llm-atc logs {name}" if decided.place.local else f"{inside}   (200 there: a firewall)"
        return [broken("port", f"{address} does not answer {where}.", cure)]
    findings = [ok("port", f"{address} answers, and says it is healthy.")]
    if decided.auth:
        findings.append(_key(world, decided, address, door))
    said = world.probe.answers(
        address, decided.model.ref.name, decided.model.runner, door.key, door.certificate
    )
    if said is None:
        findings.append(ok("answer", "It answers a request."))
    else:
        findings.append(broken("answer", f"It answers no request: {said}", f"llm-atc logs {name}"))
    return findings


def _key(world: World, decided: Plan, address: str, door: Door) -> Finding:
    if door.key is None:
        return unknown("key", "Its key is not kept here.", f"llm-atc restart {decided.name}")
    model = decided.model
    if world.probe.answers(address, model.ref.name, model.runner, None, door.certificate) is None:
        return broken("key", "It answers without a key: anybody may use it.", f"llm-atc stop {decided.name}")
    return ok("key", "Without its key it answers nobody.")
