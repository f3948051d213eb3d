"""What the benchmarks found, kept as JSON, and told in the documentation: `python -m benchmarks.pages`.

A page holds `<!-- benchmarks/NAME -->` … `<!-- end -->`; what stands between is written from the JSON. A test
writes it again and compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import tables

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
PAGES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "relay": ("relay.md", tables.relay),
    "soak": ("relay.md", tables.soak),
    "fit": ("fit.md", tables.fit),
    "ready": ("local.md", tables.ready),
    "cli": ("plan.md", tables.cli),
}


def keep(name: str, found: object) -> None:
    """Write what was found, and the page that tells it."""
    RESULTS.mkdir(exist_ok=True)
    RESULTS.joinpath(f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    page = ROOT / "docs" / PAGES[name][0]
    page.write_text(told(name, page.read_text()))


def told(name: str, text: str) -> str:
    """The page's text with what is kept in JSON in its place."""
    found = json.loads(RESULTS.joinpath(f"{name}.json").read_text())
    place = re.compile(rf"(<!-- benchmarks/{name} -->\n).*?(<!-- end -->)", re.DOTALL)
    written = PAGES[name][1](found)
    changed, times = place.subn(lambda match: f"{match[1]}\n{written}\n\n{match[2]}", text)
    if times != 1:
        raise SystemExit(f"docs/{PAGES[name][0]} has {times} places for {name}")
    return changed


def main() -> None:
    for name, (file, _) in PAGES.items():
        page = ROOT / "docs" / file
        page.write_text(told(name, page.read_text()))


if __name__ == "__main__":
    main()
