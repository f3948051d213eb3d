"""How long help and `llm-atc plan` take, against `sky --help`, in one run, one after the other.

    uv run python -m benchmarks.cli [--json]

Ratios are what to read: seconds depend on the machine, and on what else it does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from examples.make_tiny_model import make
from tests.hub import Hub
from tests.offline import offline_environment

ROUNDS = 7
BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer": [sys.executable, "-c", "import typer"],
    "llm-atc --help": [str(BIN / "llm-atc"), "--help"],
    "llm-atc serve --help": [str(BIN / "llm-atc"), "serve", "--help"],
    "sky --help": [str(BIN / "sky"), "--help"],
}
# Without any look-up: a model of this machine. Warm: the model from a stand-in hub, the catalogue kept.
PLAN_HERE, PLAN_HUB = "llm-atc plan, here", "llm-atc plan, hub"


@contextlib.contextmanager
def plans() -> Iterator[dict[str, list[str]]]:
    """The commands that plan, in a home with a catalogue that was read."""
    with tempfile.TemporaryDirectory(prefix="llm-atc-") as folder:
        home = Path(folder)
        model = make(home / "model")
        os.environ.update(offline_environment(home))
        with Hub({"org/tiny": model}) as hub:
            os.environ["HF_ENDPOINT"] = hub.url
            read = [str(BIN / "llm-atc"), "accelerators", "L4", "--cloud", "aws"]
            subprocess.run(read, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            plan = [str(BIN / "llm-atc"), "plan"]
            yield {
                PLAN_HERE: [*plan, str(model), "--cloud", "local"],
                PLAN_HUB: [*plan, "org/tiny", "--cloud", "aws", "--accelerator", "L4:1"],
            }


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each command, after one round that is not counted; the commands take turns."""
    with plans() as more:
        commands = COMMANDS | more
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, argv in commands.items():
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
