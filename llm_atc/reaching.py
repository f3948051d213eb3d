"""Reaching deployments that have no open port: through a tunnel, for as long as somebody asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from llm_atc.doors import Door
from llm_atc.errors import AtcError, CloudError, DeploymentError
from llm_atc.plan.plan import Plan
from llm_atc.ports import MachineState, Observation, Reporter, Target, Tunnels, Usage, World


class Reached:
    """A private deployment's Target, seen through a tunnel: `observe` has an address that answers here.

    A tunnel is opened when the machine is first seen up, unless `llm-atc connect` keeps one, and closed with
    `stack`; all else is the target's own. An `excused` error of a tunnel leaves the address unknown, and its
    words are in the detail.
    """

    def __init__(
        self,
        target: Target,
        tunnels: Tunnels,
        port: int,
        stack: contextlib.ExitStack,
        excused: type[AtcError],
    ) -> None:
        self._target, self._tunnels, self._port, self._stack = target, tunnels, port, stack
        self._excused = excused
        self._address: str | None = None
        self.launch, self.stop, self.down, self.logs = target.launch, target.stop, target.down, target.logs

    def observe(self, name: str, *, fresh: bool = False) -> Observation:
        """See ports.Target."""
        seen = self._target.observe(name, fresh=fresh)
        if seen.machine is not MachineState.UP:
            return seen
        try:
            return replace(seen, address=self._tunnels.current(name) or self._opened(name))
        except self._excused as error:
            why = f"{error.message} Try: {error.hint}" if error.hint else error.message
            return replace(seen, address=None, detail="; ".join(filter(None, (seen.detail, why))))

    def _opened(self, name: str) -> str:
        if self._address is None:
            self._address = self._stack.enter_context(self._tunnels.open(name, self._port))
        return self._address


@contextlib.contextmanager
def reached(world: World, plan: Plan, *, excused: type[AtcError] = CloudError) -> Iterator[Target]:
    """Where the plan runs; the addresses that it tells can be asked from here while the block lasts.

    A tunnel that fails with an `excused` error is one that there is not now; any other is raised.
    """
    target = world.target(plan)
    if not plan.private:
        yield target
        return
    with contextlib.ExitStack() as stack:
        yield Reached(target, world.tunnels, plan.port, stack, excused)


def url_of(world: World, plan: Plan, seen: Observation) -> str | None:
    """Where clients ask: a private deployment has an address only while somebody is connected to it."""
    address = world.tunnels.current(plan.name) if plan.private else seen.address
    return f"{'https' if plan.tls else 'http'}://{address}" if address else None


def usage_of(world: World, plan: Plan, door: Door, seen: Observation) -> Usage | None:
    """What a machine that answers tells of its use; an engine on this machine tells nothing."""
    if plan.place.local or seen.address is None or seen.machine is not MachineState.UP:
        return None
    return world.probe.usage(seen.address, door.key, door.certificate)


def expect_machine(world: World, plan: Plan) -> None:
    """Before a launch: let a private deployment whose machine is gone be answered by a new one.

    A machine that is there, running or stopped, is held to its host key.
    """
    if plan.private and world.target(plan).observe(plan.name, fresh=True).machine is MachineState.ABSENT:
        world.tunnels.forget(plan.name)


def connect(world: World, plan: Plan, report: Reporter, *, port: int | None = None) -> None:
    """Keep a tunnel to the deployment open until Ctrl-C; it is opened again whenever it breaks.

    Raises DeploymentError when the machine is not up, or is no longer, and when another command keeps a
    tunnel already; EngineError when the port here is taken, or is by the time a tunnel is opened again.
    """
    target = world.target(plan)
    if plan.place.local:
        raise DeploymentError(f"{plan.name} runs on this machine.", hint=f"llm-atc endpoint {plan.name}")
    there = world.tunnels.current(plan.name)
    if there is not None:
        raise DeploymentError(f"{plan.name} is connected already, at http://{there}/v1.")

    def up() -> bool:
        return target.observe(plan.name).machine is MachineState.UP

    if up():
        world.tunnels.keep(plan.name, plan.port, port, report, up)
    state = target.observe(plan.name, fresh=True).machine
    raise DeploymentError(
        f"The machine of {plan.name} is {state}: nothing can be reached there.",
        hint=f"llm-atc start {plan.name}",
    )
