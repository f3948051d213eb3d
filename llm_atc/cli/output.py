"""How results look: data on stdout, talk on stderr; for people through rich, for machines as JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from llm_atc.errors import DeploymentError

if TYPE_CHECKING:
    from rich.console import Console

    from llm_atc.launcher import Endpoint, Status

# The columns of what is read by a program, or in a file.
WIDE = 200
STYLES = {
    "ready": "green",
    "starting": "yellow",
    "launching": "yellow",
    "stopping": "yellow",
    "failed": "red",
    "broken": "red",
    "stopped": "dim",
    "gone": "dim",
}


def talk() -> Console:
    """The console for talk: stderr, unwrapped where it is no terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def data() -> Console:
    """The console for data: stdout, never wrapped."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDE
    return Console(highlight=False, width=width)


def print_json(value: Any) -> None:
    """The value on stdout, as JSON of two spaces."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def status_facts(status: Status) -> dict[str, Any]:
    """A status as `--json` prints it. Money is US dollars, times are seconds; `since` is an epoch second.

    No key is in it.
    """
    return {
        "name": status.name,
        "model": status.model,
        "engine": status.engine,
        "where": status.where,
        "state": str(status.state),
        "endpoint": status.url,
        "hourly": status.hourly,
        "daily": status.daily,
        "spent": status.spent,
        "hours": status.hours,
        "idle_seconds": status.idle,
        "seconds_left": status.left,
        "since": status.since,
        "detail": status.detail,
    }


def print_statuses(statuses: Iterable[Status]) -> None:
    """Deployments as a table on stdout."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    headings = ("NAME", "STATE", "MODEL", "ENGINE", "WHERE", "ENDPOINT")
    for heading in (*headings, "$/H", "$/DAY", "SPENT", "IDLE", "LEFT"):
        table.add_column(heading, overflow="fold")
    details = []
    for status in statuses:
        table.add_row(
            status.name,
            f"[{STYLES[status.state]}]{status.state}[/]",
            status.model,
            status.engine,
            status.where,
            status.url or "",
            _money(status.hourly),
            _money(status.daily),
            _money(status.spent),
            _time(status.idle),
            _time(status.left),
        )
        if status.detail:
            details.append(f"{status.name}: {status.detail}")
    data().print(table)
    for line in details:
        talk().print(line, style="dim", markup=False)


def _money(dollars: float | None) -> str:
    return "" if dollars is None else f"{dollars:.2f}"


def cents(dollars: float | None) -> str:
    """A price for people, which does not look like nothing where it is little."""
    return "< 0.01" if dollars is not None and dollars < 0.01 else _money(dollars)


def _time(seconds: float | None) -> str:
    from llm_atc.plan.ending import duration

    return "" if seconds is None else duration(seconds)


def receipt(status: Status) -> str:
    """What a machine that is gone has cost, or why nobody knows; empty for one that cost nothing."""
    from llm_atc.plan.ending import duration

    if status.spent is None:
        return f" {status.detail}" if status.detail else ""
    ran = f" ran {duration(status.hours * 3600)}" if status.hours is not None else ""
    hourly = f" at ${status.hourly:.2f} an hour" if ran and status.hourly is not None else ""
    return f" It{ran}{hourly}{' and' if ran else ''} cost about ${status.spent:.2f}."


def running_line(statuses: Iterable[Status]) -> str | None:
    """One line for who leaves while machines cost money; None when none does."""
    costly = [status for status in statuses if status.hourly]
    if not costly:
        return None
    dollars = sum(status.hourly or 0 for status in costly)
    if len(costly) == 1:
        return f"{costly[0].name} goes on running for ${dollars:.2f} an hour. {costly[0].ends or ''}".rstrip()
    names = ", ".join(status.name for status in costly)
    return f"{names} go on running for ${dollars:.2f} an hour together. End them with: llm-atc down --all"


def curl_line(endpoint: Endpoint) -> str:
    """A command that asks the endpoint for its models, with the key that it takes."""
    header = f' -H "Authorization: Bearer {endpoint.key.reveal()}"' if endpoint.key else ""
    # Signed by nobody: it is the pinned key that counts, and curl holds to it with -k too.
    pin = f" -k --pinnedpubkey sha256//{endpoint.certificate.pin}" if endpoint.certificate else ""
    return f"curl{pin} {endpoint.url}/v1/models{header}"


def certificate_text(endpoint: Endpoint) -> str:
    """The endpoint's certificate in PEM. Raises DeploymentError when it has none."""
    if endpoint.certificate is None:
        raise DeploymentError(
            f"{endpoint.name} speaks plain HTTP: it has no certificate.", hint="llm-atc serve … --tls"
        )
    return endpoint.certificate.leaf


def env_lines(endpoint: Endpoint) -> str:
    """The variables that OpenAI's clients and the examples read, as a shell's `eval` takes them."""
    values = {
        "OPENAI_BASE_URL": f"{endpoint.url}/v1",
        "OPENAI_API_KEY": endpoint.key.reveal() if endpoint.key else "none",
        "MODEL": endpoint.model,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def endpoint_facts(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as `endpoint --json` prints it, with its key: the command exists to hand it over."""
    return {
        "name": endpoint.name,
        "model": endpoint.model,
        "endpoint": endpoint.url,
        "base_url": f"{endpoint.url}/v1",
        "api_key": endpoint.key.reveal() if endpoint.key else None,
        "certificate": endpoint.certificate.leaf if endpoint.certificate else None,
        "fingerprint": endpoint.certificate.fingerprint if endpoint.certificate else None,
    }


def print_landed_private(name: str, model: str) -> None:
    """The same for an endpoint that nobody can reach yet."""
    console = data()
    for label, value in (
        ("Endpoint", "private: it has no open port"),
        ("Model", model),
        ("Connect", f"llm-atc connect {name}"),
        ("Stop", f"llm-atc stop {name}"),
        ("Remove", f"llm-atc down {name}   (ends every cost)"),
    ):
        console.print(f"{label:<9} {value}", markup=False, soft_wrap=True)


def print_landed(endpoint: Endpoint, *, local: bool) -> None:
    """What a user wants to know when the endpoint has answered."""
    console = data()
    for label, value in (
        ("Endpoint", f"{endpoint.url}/v1"),
        ("Model", endpoint.model),
        ("Try", curl_line(endpoint)),
        ("Stop", f"llm-atc stop {endpoint.name}"),
        ("Remove", f"llm-atc down {endpoint.name}" + ("" if local else "   (ends every cost)")),
    ):
        console.print(f"{label:<9} {value}", markup=False, soft_wrap=True)
