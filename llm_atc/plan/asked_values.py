"""What a setting's value means by itself, whatever the other settings say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm_atc.errors import UsageError
from llm_atc.plan.asked_words import read_lora, read_size_of
from llm_atc.plan.delivery import read_cache, read_way
from llm_atc.plan.ending import read_action, read_budget, read_duration, read_minutes
from llm_atc.plan.flag_checks import check_concurrency, check_disk_size, check_num_nodes, check_price
from llm_atc.plan.keys import Value
from llm_atc.plan.places import read_place
from llm_atc.plan.request import HIGHEST_PORT, LOWEST_PORT, check_name, read_accelerators


def _read_host_port(value: str | int | None) -> tuple[str | None, int | None]:
    if not value:
        return None, None
    host, _, port = str(value).rpartition(":")
    if not port.isdecimal():
        raise UsageError(f"serve.host_port {value!r} is no HOST:PORT.", hint="host_port: 127.0.0.1:8000")
    if not LOWEST_PORT <= int(port) <= HIGHEST_PORT:
        raise UsageError(
            f"serve.host_port {value!r}: {port} is not between {LOWEST_PORT} and {HIGHEST_PORT}.",
            hint="host_port: 127.0.0.1:8000",
        )
    return host.strip("[]") or None, int(port)


# By setting. Each raises UsageError, and takes None for what was not said.
READERS: Mapping[str, Callable[[Any], Any]] = {
    "deployment.name": lambda text: check_name(text) if text else None,
    "cloud.name": lambda text: read_place(text, None, None),
    "cloud.idle_minutes": lambda minutes: read_minutes(minutes, least=0, flag="--idle-minutes"),
    "cloud.idle_action": read_action,
    "cloud.ttl": lambda text: read_duration(text, flag="--ttl") if text else None,
    "cloud.copy_minutes": lambda minutes: read_minutes(minutes, least=1, flag="--copy-minutes"),
    "cloud.weights": read_way,
    "cloud.cache": read_cache,
    "cloud.budget": lambda text: read_budget(text, flag="--budget") if text else None,
    "resources.accelerators": lambda texts: read_accelerators(texts or ()),
    "resources.max_price": check_price,
    "resources.concurrency": check_concurrency,
    "resources.disk_size": check_disk_size,
    "resources.num_nodes": check_num_nodes,
    "serve.host_port": _read_host_port,
    "serve.max_ctx_size": lambda size: read_size_of(size, "--max-ctx-size"),
    "inference.max_model_len": lambda size: read_size_of(size, "--max-model-len"),
    "inference.lora": read_lora,
}


def check_alone(name: str, value: Value) -> None:
    """UsageError for a value that no other setting could make a good one of this setting."""
    if name in READERS:
        READERS[name](value)
