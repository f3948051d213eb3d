"""What is said of costs: before a launch, and of what is left after one that failed."""

from __future__ import annotations

from llm_atc.errors import AtcError, Interrupted, OfferError
from llm_atc.plan.plan import Plan
from llm_atc.plan.price import told
from llm_atc.ports import EngineState, MachineState, Observation, Quote, Target

_OVER = (EngineState.ENDED, EngineState.FINISHED)


def priced(decided: Plan, quote: Quote) -> Quote:
    """The quote, if it has the price that a budget needs."""
    if decided.ending.budget is not None and quote.hourly is None:
        raise OfferError(
            f"The price of {quote.resources} is not known, so a budget cannot be kept.",
            hint="--ttl 8h   (in place of --budget)",
        )
    return quote


def offer(decided: Plan, quote: Quote) -> str:
    """The question before money is spent: what, where, for how much."""
    price = told(quote.hourly) if quote.hourly is not None else "a price that is not known"
    kind = " (spot)" if quote.spot else ""
    return (
        f"Launch {decided.model.ref.name} with {decided.engine} {decided.pin.version} "
        f"on {quote.resources}{kind} for {price}? {decided.ending}"
    )


def last_look(target: Target, name: str) -> Observation:
    """What is there after a failure; the failure itself is told even when nobody can look any more."""
    try:
        return target.observe(name)
    except AtcError:
        return Observation(machine=MachineState.UNKNOWN)


def with_bill(error: AtcError, decided: Plan, left: Observation) -> AtcError:
    """The same error, which also says what is left running and what that costs."""
    error.left = left_running(decided, left)
    return error


def left_running(decided: Plan, left: Observation) -> str:
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
    ends = " It stops by itself within minutes." if left.engine in _OVER and decided.ending.action else ""
    return (
        f"The machine of {decided.name} is still running{cost}.{ends} "
        f"Remove it with: llm-atc down {decided.name}"
    )


def interrupted(decided: Plan, left: Observation) -> Interrupted:
    error = Interrupted("Interrupted.", hint=f"llm-atc status {decided.name}")
    error.left = left_running(decided, left)
    return error
