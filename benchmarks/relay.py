"""How much the relay costs: `python -m benchmarks.relay [--json] [--seconds N] [--rounds N] [--write]`.

One engine that costs next to nothing (benchmarks/stub_engine.py), and in front of it in turn: nothing, the
relay, and each of benchmarks/relay_subjects.py with one worker. What stands in front has a core of its own
where there are two; engine and load generator (Debian's `wrk`) share the other. Every subject is measured in
every round, and its best round counts: on a busy machine the others tell of the machine. Read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.pages import RESULTS, keep
from benchmarks.relay_subjects import RELAY, SLOW, SUBJECTS, started, versions
from benchmarks.servers import CHAT, KEY, Server, on_core

CONNECTIONS = (1, 32, 256)
KINDS = ("plain", "streaming")
WRK = """
wrk.method = "POST"
wrk.body = '%s'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One subject at one load: answers a second, and times in milliseconds, each the best of its rounds.

    `cpu` is microseconds of processor time of the subject for each answer, which other work on the machine
    changes less than rates: the median of its rounds.
    """

    subject: str
    kind: str
    connections: int
    per_second: float
    p50: float
    p99: float
    cpu: float


class NoAnswers(Exception):
    """A load with errors, or without a single answer, is no measurement."""


def wrk(subject: Server, kind: str, connections: int, seconds: int, folder: Path) -> tuple[float, ...]:
    """Answers a second, the 50th and 99th percentile of their times, and processor time, as in Measured."""
    script = folder / f"{kind}.lua"
    script.write_text(WRK % (CHAT % (',"stream":true' if kind == "streaming" else ""), KEY))
    words = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "--latency", "-s", str(script)]
    url = f"http://127.0.0.1:{subject.port}/v1/chat/completions"
    before = subject.cpu()
    done = subprocess.run(on_core(["wrk", *words, url], 0), capture_output=True, text=True, check=True)
    spent = subject.cpu() - before
    settle(subject)
    rate, p50, p99, count = told_by_wrk(done.stdout)
    return rate, p50, p99, spent * 1e6 / count


def settle(subject: Server) -> None:
    """Wait until nothing is left of requests whose client has gone: it would count for the next load."""
    deadline = time.monotonic() + 120
    before = -1.0
    while (now := subject.cpu()) - before > 0.05 and time.monotonic() < deadline:
        before = now
        time.sleep(0.2)


def told_by_wrk(text: str) -> tuple[float, float, float, int]:
    """Answers a second, two percentiles in milliseconds, and how many answers. Raises NoAnswers."""
    wrong = re.search(r"Non-2xx.*|Socket errors.*", text)
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"(\d+) requests in", text)
    if wrong or rate is None or count is None or count[1] == "0":
        raise NoAnswers(wrong[0] if wrong else "not one answer in the time")
    return float(rate[1]), percentile(text, 50), percentile(text, 99), int(count[1])


def percentile(text: str, number: int) -> float:
    found = re.search(rf"^\s+{number}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if found is None:
        raise NoAnswers(f"no {number} % in {text}")
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[found[2]]


def measure(rounds: int, seconds: int, chosen: list[str]) -> list[Measured]:
    """Every subject at every load."""
    seen: dict[tuple[str, str, int], list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        folder = Path(directory)
        tried = started(stack, folder, chosen)
        for number in range(rounds):
            for kind in KINDS:
                for connections in CONNECTIONS:
                    for name, subject in tried.items():
                        if name in SLOW and number:
                            continue
                        length = seconds * SLOW.get(name, {}).get(connections, 1)
                        try:
                            got = wrk(subject, kind, connections, length, folder)
                        except NoAnswers as error:
                            print(f"{name}, {kind}, {connections}: {error}", file=sys.stderr)
                            continue
                        seen.setdefault((name, kind, connections), []).append(got)
    return [
        Measured(
            subject=subject,
            kind=kind,
            connections=connections,
            per_second=round(max(got)[0], 1),
            p50=round(min(one[1] for one in got), 3),
            p99=round(min(one[2] for one in got), 3),
            cpu=round(statistics.median(one[3] for one in got), 1),
        )
        for (subject, kind, connections), got in seen.items()
    ]


def ratios(found: list[Measured]) -> dict[str, dict[str, float]]:
    """The relay's rate against each other's, by load: 1.5 is half as many again."""
    relay = {(one.kind, one.connections): one for one in found if one.subject == RELAY}
    told: dict[str, dict[str, float]] = {}
    for one in found:
        if one.subject != RELAY:
            load = f"{one.kind}, {one.connections}"
            ratio = relay[one.kind, one.connections].per_second / one.per_second
            told.setdefault(one.subject, {})[load] = round(ratio, 2)
    return told


def table(found: list[Measured]) -> str:
    """A row for each subject and load."""
    heads = f"{'clients':>8}{'a second':>11}{'p50 ms':>10}{'p99 ms':>10}{'cpu us':>8}{'relay is':>10}"
    lines = [f"{'':25}{heads}"]
    told = ratios(found)
    for one in found:
        ratio = told.get(one.subject, {}).get(f"{one.kind}, {one.connections}")
        times = "" if ratio is None else f"{ratio:.2f} x"
        lines.append(
            f"{one.subject:14}{one.kind:11}{one.connections:>8}{one.per_second:>11,.0f}"
            f"{one.p50:>10.3f}{one.p99:>10.3f}{one.cpu:>8.0f}{times:>10}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}/relay.json and docs too")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3; slow subjects in the first alone")
    parser.add_argument("--only", action="append", choices=list(SUBJECTS), help="besides the relay")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    load = os.getloadavg()[0]
    chosen = [name for name in SUBJECTS if name == RELAY or not given.only or name in given.only]
    found = measure(given.rounds, given.seconds, chosen)
    told = {
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "seconds": given.seconds,
        "rounds": given.rounds,
        "versions": versions(),
        "measured": [asdict(one) for one in found],
        "relay_against": ratios(found),
    }
    if given.write:
        keep("relay", told)
    print(json.dumps(told, indent=1) if given.json else table(found))


if __name__ == "__main__":
    main()
