"""Reaching deployments that have no open port: through a tunnel, for as long as somebody asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from llm_atc.errors import CloudError, DeploymentError
from llm_atc.plan.plan import Plan
from llm_atc.ports import MachineState, Observation, Reporter, Target, Tunnels, World


class Reached:
    """A private deployment's Target, seen through a tunnel: `observe` has an address that answers here.

    A tunnel is opened when the machine is first seen up, unless `llm-atc connect` keeps one, and closed with
    `stack`; all else is the target's own.
    """

    def __init__(self, target: Target, tunnels: Tunnels, port: int, stack: contextlib.ExitStack) -> None:
        self._target, self._tunnels, self._port, self._stack = target, tunnels, port, stack
        self._address: str | None = None
        self.launch, self.stop, self.down, self.logs = target.launch, target.stop, target.down, target.logs

    def observe(self, name: str, *, fresh: bool = False) -> Observation:
        """See ports.Target."""
        seen = self._target.observe(name, fresh=fresh)
        if seen.machine is not MachineState.UP:
            return seen
        return replace(seen, address=self._tunnels.current(name) or self._opened(name))

    def _opened(self, name: str) -> str | None:
        if self._address is None:
            with contextlib.suppress(CloudError):
                self._address = self._stack.enter_context(self._tunnels.open(name, self._port))
        return self._address


@contextlib.contextmanager
def reached(world: World, plan: Plan) -> Iterator[Target]:
    """Where the plan runs; the addresses that it tells can be asked from here while the block lasts."""
    target = world.target(plan)
    if not plan.private:
        yield target
        return
    with contextlib.ExitStack() as stack:
        yield Reached(target, world.tunnels, plan.port, stack)


def connect(world: World, plan: Plan, report: Reporter, *, port: int | None = None) -> None:
    """Keep a tunnel to the deployment open until Ctrl-C; it is opened again whenever it breaks.

    Raises DeploymentError when the machine is not up, or is no longer, and when another command keeps a
    tunnel already.
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
