"""A plan's facts as lines for people."""

from __future__ import annotations

from typing import Any

GIB = 1024**3


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """A label and a text for each thing that is known."""
    found = [
        ("Name", facts["name"]),
        ("Model", _model(facts["model"])),
        ("Engine", _engine(facts["engine"])),
        ("Where", facts["where"]),
        *(("Setting", f"{one['setting']} = {one['value']}   ({one['source']})") for one in facts["settings"]),
        *(("Offer", _offer(one)) for one in facts["offers"]),
        ("Prices", f"read {facts['prices_age']} ago" if facts["prices_age"] and facts["offers"] else None),
        ("Download", _download(facts["download"])),
        ("Protection", facts["protection"]),
        ("Stops", facts["stops"]),
    ]
    return [(label, text) for label, text in found if text]


def _model(model: dict[str, Any] | None) -> str | None:
    if model is None:
        return None
    parts = [model["name"], model["format"], model["architecture"], model["quantization"]]
    if model["parameters"]:
        parts.append(f"{model['parameters'] / 1e9:.2f} billion parameters")
    if model["experts"]:
        parts.append(f"{model['active_experts']} of {model['experts']} experts for each token")
    if model["context"]:
        parts.append(f"{model['context']} tokens of context")
    if len(model["modality"]) > 1:
        parts.append(" and ".join(model["modality"]))
    if model["tool_parser_hints"]:
        parts.append(f"tool parser perhaps {' or '.join(model['tool_parser_hints'])}")
    if model["reasoning_parser_hints"]:
        parts.append(f"reasoning parser perhaps {' or '.join(model['reasoning_parser_hints'])}")
    return ", ".join(part for part in parts if part)


def _engine(engine: dict[str, Any] | None) -> str | None:
    return f"{engine['name']} {engine['version']} {' '.join(engine['arguments'])}" if engine else None


def _offer(one: dict[str, Any]) -> str:
    kind = ", spot" if one["spot"] else ""
    return (
        f"{one['accelerator']}:{one['count']} on {one['cloud']}/{one['region']} "
        f"({one['instance_type']}{kind}) for ${one['hourly']:.2f} an hour (${one['daily']:.2f} a day)"
    )


def _download(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    if not found["bytes"]:
        return "nothing: the weights are here"
    size = found["bytes"] / GIB
    return f"{size:.1f} GiB, {found['seconds']:.0f} s at {found['gigabits_per_second']:g} Gbit/s"
