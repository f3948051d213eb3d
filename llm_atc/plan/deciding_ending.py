"""Request + model + machines → when a machine ends by itself, and whether it is then stopped or removed."""

from __future__ import annotations

from llm_atc.plan.delivery import Delivery, Way
from llm_atc.plan.ending import COPY_MINUTES, DEFAULT_IDLE_MINUTES, Action, Ending
from llm_atc.plan.model import ModelSpec, Where
from llm_atc.plan.picking import Picked
from llm_atc.plan.places import NEVER_END, NEVER_STOP, SPOT_NEVER_STOP
from llm_atc.plan.request import Request

# Bytes a second, by a slow way: from a bucket, and from this machine.
BUCKET_BYTES, UPLOAD_BYTES = 20 * 2**20, 2**20


def decide_ending(
    request: Request, model: ModelSpec, picked: Picked | None, delivery: Delivery | None
) -> tuple[Ending, tuple[str, ...]]:
    """What was asked for, with llm-atc's own choices for what was left open, and a sentence for each of them
    that costs something."""
    if request.place.local:
        return Ending(idle_minutes=0, action=None), ()
    action, why = _action(request, picked)
    ending = Ending(
        idle_minutes=DEFAULT_IDLE_MINUTES if request.idle_minutes is None else request.idle_minutes,
        action=action,
        ttl=request.ttl,
        budget=request.budget,
        copy_minutes=request.copy_minutes or copying(model, delivery),
    )
    return ending, why


def _action(request: Request, picked: Picked | None) -> tuple[Action | None, tuple[str, ...]]:
    """What becomes of the machine; where there are several to try, what each of them can."""
    machines = [(choice.offer.cloud, choice.spot) for choice in picked.choices] if picked else []
    machines = machines or [(request.place.cloud or "", request.spot)]
    if dead := sorted({cloud for cloud, _ in machines if cloud in NEVER_END}):
        return None, (f"SkyPilot can end no machine of {', '.join(dead)} by itself.",)
    if request.idle_action is Action.DOWN:
        return Action.DOWN, ()
    for cloud, spot in machines:
        if cloud in NEVER_STOP or (spot and cloud in {"", *SPOT_NEVER_STOP}):
            which = f"A{' spot' if spot else ''} machine of {cloud or 'most clouds'}"
            return Action.DOWN, (
                f"{which} cannot be stopped: in the end it is removed, with its disk (down).",
            )
    return Action.STOP, ()


def copying(model: ModelSpec, delivery: Delivery | None) -> int:
    """The minutes that copying this model to a machine may take, by a slow way."""
    if delivery is None or delivery.way is not Way.COPY or model.bytes is None:
        return COPY_MINUTES
    speed = UPLOAD_BYTES if model.ref.where is Where.DISK else BUCKET_BYTES
    return COPY_MINUTES + model.bytes // (60 * speed)
