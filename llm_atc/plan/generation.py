"""Generation defaults: what the relay puts into requests that say nothing of it themselves.

An engine's own defaults cannot do this: vLLM's `--override-generation-config` makes `max_new_tokens` a cap
for everybody, and llama-server's `--n-predict` is one too.
"""

from __future__ import annotations

import json

Defaults = tuple[tuple[str, int | float], ...]
# The fields of a request, in the API's own names; their ranges stand with the settings.
FIELDS = ("temperature", "max_tokens", "top_p", "top_k", "presence_penalty", "frequency_penalty")


def relay_words(defaults: Defaults) -> tuple[str, ...]:
    """These defaults as options of `python -m llm_atc.relay`."""
    found: list[str] = []
    for name, value in defaults:
        if name == "max_tokens":
            found += ["--default-max-tokens", str(value)]
        else:
            found += ["--default", f"{name}={json.dumps(value)}"]
    return tuple(found)
