"""Whether the configuration can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from llm_atc.config.gather import gather
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.preflight import Finding, ok, warning


def config_file(
    user_config: Path, folder: Path, environ: Mapping[str, str], options: OptionSets
) -> Iterator[Finding]:
    """Findings on the user's file, the environment and `.env`. Raises ConfigError for what cannot be read."""
    found = gather(
        {}, service_file=None, user_config=user_config, folder=folder, environ=environ, options=options
    )
    for note in found.notes:
        yield warning("config", note, "llm-atc config show")
    if user_config.exists():
        yield ok("config", f"{user_config} can be read.")
    else:
        yield ok("config", f"There is no {user_config}: everything has its default (llm-atc config init).")
