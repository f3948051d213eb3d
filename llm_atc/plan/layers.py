"""Settings in layers: what each says, and which of them wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llm_atc.plan.keys import KEYS, Value, Values

FLAG = "command line"
SERVICE_FILE = "service file"
ENVIRONMENT = "environment"
DOTENV = ".env"
USER_CONFIG = "user config"
BUILT_IN = "default"
# What one setting says has no meaning without: a region belongs to its cloud, options to their engine. When a
# higher layer says another cloud, the region that a lower one gave goes with the cloud that it was given for.
FOLLOWERS: Mapping[str, tuple[str, ...]] = {
    "model.name": ("model.source",),
    "serve.model_path": ("model.source",),
    "cloud.name": ("cloud.region", "cloud.zone"),
    "cloud.region": ("cloud.zone",),
    "serve.backend": ("serve.backend_args", "serve.vllm_args", "serve.gpu_layers", "serve.max_ctx_size"),
}
# Two ways to say the same: the one that is said higher hides the other.
RIVALS = {
    "model.name": "serve.model_path",
    "serve.model_path": "model.name",
    "serve.host_port": "server.port",
    "server.port": "serve.host_port",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says, and how that place is called: `command line`, or `user config`.

    `places` tells exactly where each value stands: a file's line and column, or a variable's name.
    """

    source: str
    values: Values
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A value with where it came from; `place` is the exact spot, where there is one."""

    value: Value
    source: str
    place: str = ""


Settled = Mapping[str, Sourced]


def settle(layers: Iterable[Layer]) -> Settled:
    """Every setting with the value of the first layer that says anything of it, by key.

    A layer that says None has spoken. What nobody speaks of has its built-in value.
    """
    found = {key.name: Sourced(value=key.default, source=BUILT_IN) for key in KEYS}
    built_in = dict(found)
    for layer in reversed(tuple(layers)):
        for name in _hidden(layer.values, found) & built_in.keys():
            found[name] = built_in[name]
        found |= {
            name: Sourced(value=value, source=layer.source, place=layer.places.get(name, ""))
            for name, value in layer.values.items()
        }
    return found


def _hidden(said: Values, below: Settled) -> set[str]:
    """What the layers below said of another model, cloud or engine than the one that is said now."""
    hidden = {RIVALS[name] for name in RIVALS.keys() & said.keys()}
    for leader in FOLLOWERS.keys() & said.keys() & below.keys():
        if below[leader].value not in (None, said[leader]):
            hidden.update(FOLLOWERS[leader])
    return hidden


def for_here(settled: Settled) -> tuple[Settled, tuple[str, ...]]:
    """The settings without what only a cloud has, where it is this machine that serves; a note for each.

    So one service file serves in both places. What was typed beside `--cloud local` stays, to be refused.
    """
    if str(settled["cloud.name"].value).lower() not in ("local", "localhost"):
        return settled, ()
    built_in = settle(())
    left = {
        name: built_in[name]
        for name, one in settled.items()
        if name != "cloud.name"
        and name.partition(".")[0] in ("cloud", "resources")
        and one.source not in (FLAG, BUILT_IN)
        and one.value != built_in[name].value
    }
    notes = tuple(f"{name} is for a cloud, and left out here: {settled[name].place}" for name in left)
    return {**settled, **left}, notes
