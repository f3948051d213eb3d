"""`python -m llm_atc.keeper.extend`: give the running keeper the limits of TTL_SECONDS and BUDGET_DOLLARS.

It runs under whatever Python 3 the machine has.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    """Put the limits where the keeper looks for them."""
    folder = Path("~/.llm-atc/keeper").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    names = {"ttl": "TTL_SECONDS", "budget": "BUDGET_DOLLARS"}
    limits = {name: float(os.environ.get(variable) or 0) for name, variable in names.items()}
    draft = folder / ".extension.json.draft"
    draft.write_text(json.dumps(limits))
    draft.replace(folder / "extension.json")


if __name__ == "__main__":
    main()
