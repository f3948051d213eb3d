"""`python -m llm_atc.keeper.extend`: give the keeper the limits of TTL_SECONDS and BUDGET_DOLLARS.

TTL_SINCE and BUDGET_SINCE, epoch seconds, are what they count from; empty for the machine's start and all its
starts. A keeper that starts later reads them too, unless its job was asked for after ASKED_AT. It runs under
whatever Python 3 the machine has.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

VARIABLES = {
    "ttl": "TTL_SECONDS",
    "ttl_since": "TTL_SINCE",
    "budget": "BUDGET_DOLLARS",
    "budget_since": "BUDGET_SINCE",
}


def main() -> None:
    """Put the limits where the keeper looks for them."""
    folder = Path("~/.llm-atc/keeper").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    limits = {name: _number(variable) for name, variable in VARIABLES.items() if _number(variable)}
    draft = folder / ".extension.json.draft"
    draft.write_text(json.dumps(limits))
    asked = _number("ASKED_AT") or time.time()
    os.utime(draft, (asked, asked))
    draft.replace(folder / "extension.json")


def _number(variable: str) -> float:
    return float(os.environ.get(variable) or 0)


if __name__ == "__main__":
    main()
