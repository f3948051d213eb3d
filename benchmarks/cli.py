"""How long help takes: `llm-atc --help` against `sky --help`, in one run, one after the other.

    uv run python -m benchmarks.cli [--json]

Ratios are what to read: seconds depend on the machine, and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 7
BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer": [sys.executable, "-c", "import typer"],
    "llm-atc --help": [str(BIN / "llm-atc"), "--help"],
    "llm-atc serve --help": [str(BIN / "llm-atc"), "serve", "--help"],
    "sky --help": [str(BIN / "sky"), "--help"],
}


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each command, after one round that is not counted; the commands take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, argv in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(found) for name, found in seconds.items()}


def main() -> None:
    """Print the medians, and each as a ratio to `sky --help`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cli", description=main.__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    medians = measure()
    peer = medians["sky --help"]
    if as_json:
        print(
            json.dumps({name: {"seconds": found, "of_sky": found / peer} for name, found in medians.items()})
        )
        return
    for name, found in medians.items():
        print(f"{name:<22} {found:7.3f} s   {found / peer:5.2f} of sky --help")


if __name__ == "__main__":
    main()
