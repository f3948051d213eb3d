"""Write the table of settings in docs/configuration.md from the table that the program has.

python docs/generate_config.py            write it anew
python docs/generate_config.py --check    exit 1 when it no longer says what the program does
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from llm_atc.config.template import written
from llm_atc.plan.key_values import WANTS
from llm_atc.plan.keys import KEYS, Key

PAGE = Path(__file__).parent / "configuration.md"
BEGIN, END = "<!-- settings: made by `make docs` -->\n", "<!-- end of settings -->\n"


def page(text: str) -> str:
    """The page with the table as it should be."""
    head, _, rest = text.partition(BEGIN)
    return "".join([head, BEGIN, *_rows(), END, rest.partition(END)[2]])


def _rows() -> Iterator[str]:
    yield "| setting | flag | variable | holds | default |\n| --- | --- | --- | --- | --- |\n"
    for key in KEYS:
        flags = ", ".join(f"`{flag.strip(' /')}`" for flag in key.flags[:1])
        cells = (f"`{key.name}`", flags, f"`{key.environment}`", _holds(key), _default(key))
        yield f"| {' | '.join(cells)} |\n"


def _holds(key: Key) -> str:
    if key.choices:
        return " or ".join(f"`{choice}`" for choice in key.choices)
    bounds = [f"from {key.low:g}"] if key.low is not None else []
    bounds += [f"to {key.high:g}"] if key.high is not None else []
    kind = WANTS[key.kind]
    if key.secret:
        kind += ", secret: in a file by name only"
    return " ".join([kind, *bounds])


def _default(key: Key) -> str:
    return "" if key.default is None else f"`{written(key.default)}`"


def main(arguments: list[str]) -> int:
    """Write or check the table; the exit code."""
    now = PAGE.read_text(encoding="utf-8")
    made = page(now)
    if arguments == ["--check"]:
        if now == made:
            return 0
        sys.stderr.write(f"{PAGE} is not what the program says. Write it anew with: make docs\n")
        return 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
