"""`python -m llm_atc.relay`: a relay that starts alone."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from llm_atc.access import read_key
from llm_atc.errors import AtcError, UsageError
from llm_atc.relay.config import Address, Config, Limits, read_default, read_keys
from llm_atc.relay.server import Relay
from llm_atc.relay.tls import read_tls

KEY_VARIABLE = "LLM_ATC_RELAY_KEYS"
IDLE = 10  # the exit code where nobody asked for long enough


def parser() -> argparse.ArgumentParser:
    """The options. Each limit of `Limits` has one of its own name."""
    made = argparse.ArgumentParser(prog="python -m llm_atc.relay", description=__doc__, allow_abbrev=False)
    made.add_argument("--upstream", required=True, metavar="URL", help="the engine: http://127.0.0.1:9100")
    made.add_argument("--listen", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s")
    made.add_argument(
        "--key-env",
        default=KEY_VARIABLE,
        metavar="NAME",
        help="the variable that holds the keys, with commas between (default: %(default)s)",
    )
    made.add_argument("--no-auth", action="store_true", help="let everybody in")
    made.add_argument(
        "--tls-env", metavar="NAME", help="the variable that holds key and certificate (PEM) in base64"
    )
    made.add_argument(
        "--upstream-key-env", metavar="NAME", help="the variable that holds the engine's own key"
    )
    made.add_argument(
        "--default-max-tokens", type=int, metavar="N", help="for requests that set no limit themselves"
    )
    made.add_argument(
        "--default",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a field for requests that do not name it: temperature=0.7 (repeatable)",
    )
    made.add_argument(
        "--idle-exit",
        type=float,
        metavar="SECONDS",
        help=f"end, with exit code {IDLE}, after that long without a request",
    )
    made.add_argument(
        "--notes",
        type=Path,
        metavar="FILE",
        help="JSON of the program that keeps the engine, shown by /relay/status",
    )
    for limit in fields(Limits):
        made.add_argument(
            f"--{limit.name.replace('_', '-')}",
            type=int if isinstance(limit.default, int) and not limit.name.endswith("_seconds") else float,
            default=limit.default,
            metavar="N",
            help="default: %(default)s",
        )
    return made


def read_config(words: list[str] | None = None) -> Config:
    """What the command line and the environment say. Raises UsageError and SecretMissing."""
    given = parser().parse_args(words)
    limits = Limits(**{limit.name: getattr(given, limit.name) for limit in fields(Limits)})
    if any(getattr(limits, limit.name) <= 0 for limit in fields(Limits)):
        raise UsageError("A limit has to be more than 0.")
    defaults = dict(read_default(text) for text in given.default)
    if given.default_max_tokens is not None:
        if given.default_max_tokens < 1:
            raise UsageError("--default-max-tokens has to be 1 or more.")
        defaults["max_tokens"] = given.default_max_tokens
    return Config(
        upstream=Address.parse(given.upstream),
        listen=Address.parse(given.listen),
        keys=() if given.no_auth else read_keys(os.environ, given.key_env),
        upstream_key=(
            None if given.upstream_key_env is None else read_key(os.environ.get(given.upstream_key_env, ""))
        ),
        defaults=defaults,
        limits=limits,
        idle_exit=given.idle_exit,
        tls=None if given.tls_env is None else read_tls(os.environ, given.tls_env),
        notes=given.notes,
    )


async def serve(config: Config) -> int:
    """Run a relay until SIGTERM, SIGINT or idleness; the exit code."""
    relay = Relay(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    running = loop.create_task(relay.run())
    told = loop.create_task(relay.listening())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        address = replace(config.listen, port=told.result())
        scheme = "http" if config.tls is None else "https"
        sys.stderr.write(f"relay: {scheme}://{address} -> http://{config.upstream}\n")
        sys.stderr.flush()
    told.cancel()
    await running
    if not relay.metrics.working and config.idle_exit and relay.metrics.idle_seconds >= config.idle_exit:
        sys.stderr.write(f"relay: no request for {config.idle_exit:g} seconds\n")
        return IDLE
    return 0


def raise_open_files() -> None:
    """A connection takes two open files: allow as many as the system does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    """uvloop's, where that is installed; asyncio's otherwise."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def main(words: list[str] | None = None) -> int:
    """Run it; the exit code."""
    try:
        config = read_config(words)
        raise_open_files()
        return runner()(serve(config))
    except AtcError as error:
        sys.stderr.write(f"relay: {error.message}\n" + (f"try: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"relay: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
