"""A plan's facts as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_atc.outlook import Outlook
    from llm_atc.ports import Quote

GIB = 1024**3


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """A label and a text for each thing that is known."""
    found = [
        ("Name", facts["name"]),
        ("Model", _model(facts["model"])),
        ("Engine", _engine(facts["engine"])),
        ("Where", facts["where"]),
        *(("Setting", f"{one['setting']} = {one['value']}   ({one['source']})") for one in facts["settings"]),
        *(("Note", note) for note in facts["notes"]),
        ("Download", _download(facts["download"])),
        ("Protection", facts["protection"]),
        ("Stops", facts["stops"]),
        ("Prices", _prices(facts)),
    ]
    return [(label, text) for label, text in found if text]


def verdict(found: Outlook) -> tuple[str, str]:
    """Whether it would start, with rich's markup."""
    return ("Verdict", "[bold green]will start[/]" if found.starts else "[bold red]will not start[/]")


def essentials(found: Outlook, facts: dict[str, Any], quote: Quote) -> list[tuple[str, str]]:
    """What is to be known before money is spent. Where the offers say nothing of memory, the checks do."""
    from llm_atc.plan.price import told

    price = "a price that is not known" if quote.hourly is None else told(quote.hourly)
    fit = [] if facts["offers"] and found.fit else [one.says for one in found.findings if one.check == "fit"]
    lines = [
        verdict(found),
        ("Model", _model(facts["model"])),
        ("Engine", _engine(facts["engine"])),
        ("Machine", f"{quote.resources}{', spot' if quote.spot else ''} for {price}"),
        *(("Fit", says) for says in fit),
        ("Download", _download(facts["download"])),
        ("Protection", facts["protection"]),
        ("Stops", facts["stops"]),
        ("Prices", _prices(facts)),
    ]
    return [(label, text) for label, text in lines if text]


def _prices(facts: dict[str, Any]) -> str | None:
    if not facts["prices_age"] or not facts["offers"]:
        return None
    each = f", of each of {facts['machines']} machines" if facts["machines"] > 1 else ""
    return f"read {facts['prices_age']} ago{each}"


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


def _download(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    if not found["bytes"]:
        return "nothing: the weights are here"
    size = found["bytes"] / GIB
    return f"{size:.1f} GiB, {found['seconds']:.0f} s at {found['gigabits_per_second']:g} Gbit/s"
