"""How long help and `llm-atc plan` take, beside `sky --help`, in one run: `python -m benchmarks.cli`.

    uv run python -m benchmarks.cli [--json] [--write]

The commands take turns, as a user has them: with their bytecode, with a deployment that is remembered, and
with SkyPilot's catalogue read before. Seconds depend on the machine, and on what else it does; seconds of the
processor, and ratios, depend on that less.
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

from benchmarks.pages import keep
from examples.make_tiny_model import make
from llm_atc.plan.engine import Machine
from llm_atc.plan.model import Format, ModelRef, ModelSpec
from llm_atc.plan.places import Place
from llm_atc.plan.plan import make_plan
from llm_atc.plan.request import Request
from llm_atc.store.database import Database
from tests.hub import Hub
from tests.offline import offline_environment

ROUNDS = 7
BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "llm-atc --help": [str(BIN / "llm-atc"), "--help"],
    "llm-atc serve --help": [str(BIN / "llm-atc"), "serve", "--help"],
    "sky --help": [str(BIN / "sky"), "--help"],
}
# Without any look-up: a model of this machine. Warm: the model from a stand-in hub, the catalogue kept.
PLAN_HERE, PLAN_HUB = "llm-atc plan, a model here", "llm-atc plan, a model of the hub"


@contextlib.contextmanager
def plans() -> Iterator[tuple[dict[str, list[str]], dict[str, str]]]:
    """The commands that plan, and the variables of a user who read the catalogue and serves something."""
    with tempfile.TemporaryDirectory(prefix="llm-atc-") as folder:
        home = Path(folder)
        model = make(home / "model")
        environment = offline_environment(home)
        remember(home / ".llm-atc" / "state.db", model)
        with Hub({"org/tiny": model}) as hub:
            environment["HF_ENDPOINT"] = hub.url
            read = [str(BIN / "llm-atc"), "accelerators", "L4", "--cloud", "aws"]
            subprocess.run(read, check=True, env=environment, capture_output=True)
            plan = [str(BIN / "llm-atc"), "plan"]
            named = {
                PLAN_HERE: [*plan, str(model), "--cloud", "local"],
                PLAN_HUB: [*plan, "org/tiny", "--cloud", "aws", "--accelerator", "L4:1"],
            }
            yield named, environment


def remember(file: Path, model: Path) -> None:
    """A deployment of another name, as after a `serve`."""
    spec = ModelSpec(ref=ModelRef.parse(str(model)), looked=True, format=Format.HUGGING_FACE)
    request = Request(model=str(model), name="other", place=Place(cloud="local"))
    machine = Machine(cpus=2, memory=8 * 2**30, gpu=None, gpus=0, compiler=True, disk=2**40)
    Database(file).save(make_plan(request, spec, machine), time.time())


def measure(rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Median seconds of each command, by the clock and of the processor; the first round does not count."""
    with plans() as (more, environment):
        taken: dict[str, list[tuple[float, float]]] = {}
        for number in range(rounds + 1):
            for name, argv in (COMMANDS | more).items():
                spent = run(argv, environment)
                if number:
                    taken.setdefault(name, []).append(spent)
    return {
        name: {
            "seconds": round(statistics.median(clock for clock, _ in spent), 4),
            "cpu": round(statistics.median(cpu for _, cpu in spent), 4),
        }
        for name, spent in taken.items()
    }


def run(argv: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor; ends the benchmark when the command fails."""
    begun = time.perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, env=environment, stdout=quiet, stderr=quiet) as started:
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {started.returncode}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime


def main() -> None:
    """Print the medians, and each as a ratio to `sky --help`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cli", description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--write", action="store_true", help="write results/cli.json and docs too")
    given = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    commands = measure()
    found = {"cores": os.cpu_count(), "load_before": load, "rounds": ROUNDS, "commands": commands}
    if given.write:
        keep("cli", found)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    peer = commands["sky --help"]
    for name, one in commands.items():
        share = one["seconds"] / peer["seconds"]
        print(f"{name:<33} {one['seconds']:6.3f} s  {one['cpu']:6.3f} s of cpu  {share:5.2f} of sky --help")


if __name__ == "__main__":
    main()
