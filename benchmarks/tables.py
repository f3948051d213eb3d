"""The documentation's tables, as text from what benchmarks kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Found = dict[str, Any]
RELAY_PEERS = ("nginx", "vllm-router", "SkyServe", "LiteLLM")


def rows(head: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    heads = list(head)
    written = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join([*written, *("| " + " | ".join(map(str, line)) + " |" for line in lines)])


def share(number: float) -> str:
    """A ratio with as many digits as say something."""
    return f"{number:.2f}" if number < 10 else f"{number:.0f}"


def milliseconds(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:,.0f}"


def relay(found: Found) -> str:
    """Rates as multiples, then what each adds to the median and to the slowest hundredth."""
    measured = {(one["subject"], one["kind"], one["connections"]): one for one in found["measured"]}
    loads = [(one["kind"], one["connections"]) for one in found["measured"] if one["subject"] == "relay"]
    against = found["relay_against"]

    def added(name: str, load: tuple[str, int]) -> str:
        if (name, *load) not in measured:
            return "–"
        it, alone = measured[(name, *load)], measured[("engine alone", *load)]
        return " / ".join(milliseconds(max(it[time] - alone[time], 0)) for time in ("p50", "p99"))

    def ratio(name: str, load: tuple[str, int]) -> str:
        told = against.get(name, {}).get(f"{load[0]}, {load[1]}")
        return "–" if told is None else share(told)

    def spent(load: tuple[str, int]) -> list[str]:
        names = ("relay", "nginx", "vllm-router")
        return [
            f"{measured[(name, *load)]['cpu']:.0f}" if (name, *load) in measured else "–" for name in names
        ]

    rates = rows(
        ["answers", "clients", *(f"of {name}" for name in RELAY_PEERS)],
        ([*load, *(ratio(name, load) for name in RELAY_PEERS)] for load in loads),
    )
    times = rows(
        ["answers", "clients", "relay", *RELAY_PEERS],
        ([*load, *(added(name, load) for name in ("relay", *RELAY_PEERS))] for load in loads),
    )
    cpu = rows(
        ["answers", "clients", "relay", "nginx", "vllm-router"], ([*load, *spent(load)] for load in loads)
    )
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return "\n\n".join(
        [
            "The relay's answers a second, as a multiple of those of others in the same place:",
            rates,
            "Milliseconds that each adds to the engine's own median and 99th percentile:",
            times,
            "Microseconds of processor time for each answer:",
            cpu,
            f"One run on {found['cores']} shared cores (load {found['load_before']} before it began), the "
            f"best of {found['rounds']} rounds of {found['seconds']} s (SkyServe, LiteLLM: one longer), "
            f"one worker each: {versions}.",
        ]
    )


def soak(found: Found) -> str:
    """What grew, and what the requests were."""
    answers = ", ".join(f"{number:,} of {status}" for status, number in sorted(found["answers"].items()))
    return (
        f"Resident memory was {found['warm_kib']:,} KiB after {found['warm_requests']:,} requests and "
        f"{found['last_kib']:,} KiB after {found['requests']:,}: {found['grown_kib']:+,} KiB. "
        f"Answers by status: {answers} (499 is a client that left)."
    )


def fit(found: Found) -> str:
    """How far each is off from what the real vLLM takes."""
    estimators = ("llm-atc", "hf-mem", "accelerate")
    models = {name: said for name, said in found["models"].items() if measured(said)}

    def percent(name: str, who: str, what: str) -> str:
        off = found["percent_off"][name].get(who, {}).get(what)
        if not off:
            return "–" if off is None else "0"
        return f"{off:+.2f}" if abs(off) < 1 else f"{off:+.1f}" if abs(off) < 100 else f"{off:+,.0f}"

    heads = ["model", "weights", *estimators, "KV per token", *estimators[:2]]
    lines = (
        [
            name,
            f"{said['vLLM']['weights']:,}",
            *(percent(name, who, "weights") for who in estimators),
            f"{said['vLLM']['kv']:,}",
            *(percent(name, who, "kv") for who in estimators[:2]),
        ]
        for name, said in models.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    left = ", ".join(name for name in found["models"] if name not in models)
    return f"{rows(heads, lines)}\n\nVersions: {versions}." + (
        f" Left out, with no checkpoint: {left}." if left else ""
    )


def measured(said: Found) -> bool:
    """Whether there is a checkpoint of it that vLLM loaded and that the estimators were shown."""
    return said["vLLM"].get("weights") is not None and bool(said["hf-mem"])


def ready(found: Found) -> str:
    """Seconds, the ratio of the medians, and what is llm-atc's own part."""
    lines = (
        [
            case,
            *(f"{one[who]:.2f}" for who in ("bare", "llm-atc")),
            f"{one['ratio']:.2f}",
            f"{one['own']:.2f}" if "own" in one else "–",
            f"{len(one['rounds']['bare'])}",
            f"{one['load_before']:.0f}",
        ]
        for case, one in found["cases"].items()
    )
    table = rows(
        [
            *("engine and model", "started by itself, s", "with llm-atc serve, s", "times"),
            *("llm-atc's own processor time, s", "rounds", "load before"),
        ],
        lines,
    )
    return f"{table}\n\nMedians of rounds that took turns, on {found['cores']} shared cores."


def cli(found: Found) -> str:
    """Seconds by the clock and of the processor, beside another program's."""
    peer = found["commands"]["sky --help"]["seconds"]
    lines = (
        [f"`{name}`", f"{one['seconds']:.2f}", f"{one['cpu']:.2f}", share(one["seconds"] / peer)]
        for name, one in found["commands"].items()
    )
    table = rows(["command", "seconds", "of the processor", "of `sky --help`"], lines)
    return (
        f"{table}\n\nMedians of {found['rounds']} rounds that took turns, in one run on "
        f"{found['cores']} shared cores (load {found['load_before']} before it began)."
    )
