"""How long until a model answers: `python -m benchmarks.ready [--json] [--rounds N] [--only CASE] [--write]`.

`llm-atc serve --cloud local`, from the command to its return, against the very command that `--dry-run`
prints, started by itself and asked every POLL seconds until it has answered once. Both take turns; the first
round warms caches and does not count. Each engine is asked with the examples' tiny model, so that what
llm-atc adds shows, and with larger ones of random weights, written for the run and removed after it. They
are in memory already when the engine starts, but where the case names a disk: then they are read from it, as
after a boot, and the kernel gives both no more than SLOW_DISK bytes a second (root, and blkio's cgroup, v1).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pages import RESULTS, keep
from benchmarks.servers import free_port
from examples.make_tiny_gguf import make as make_gguf
from examples.make_tiny_model import Sizes, make
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import llama_cpp, vllm
from tests.fakes import FakeReporter

POLL = 0.02
PATIENCE = 600
SIZES = {
    "tiny": Sizes(),
    "2 GB": Sizes(hidden=2048, layers=8, heads=16, key_value_heads=4, intermediate=8192),
    "4 GB": Sizes(hidden=2048, layers=16, heads=16, key_value_heads=4, intermediate=8192),
}
SLOW_DISK = 125 * 10**6  # about what AWS's gp3 volumes give unless more is paid for
FROM_DISK = ", disk of 125 MB/s"
CASES = (
    *("vLLM, tiny", "vLLM, 2 GB"),
    *("llama-server, tiny", "llama-server, 2 GB", "llama-server, 4 GB, disk of 125 MB/s"),
)
Start = Callable[[Path, list[str], dict[str, str]], dict[str, float]]
THROTTLED = Path("/sys/fs/cgroup/blkio/llm-atc-benchmark")
OPTIONS = {"vLLM": ["--kv-cache-memory-bytes", "268435456"], "llama-server": ["--ctx-size", "2048"]}


def prepared(folder: Path, chosen: list[str]) -> tuple[dict[str, str], dict[str, Path]]:
    """A user's environment, with the tests' engines, and the model of each case."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("LLM_ATC_TEST_CACHE") or cache / "llm-atc-tests") / "home"
    engines = EnginesHere(root, prefer_own=False)
    programs = [Path(engines.ensure(pin, FakeReporter())).parent for pin in (vllm.CPU_PIN, llama_cpp.PIN)]
    home = folder / "home"
    home.mkdir()
    home.joinpath("engines").symlink_to(root / "engines")
    for case in chosen:
        file = folder / file_of(case)
        checkpoint = file.with_suffix("")
        if not checkpoint.exists():
            make(checkpoint, sizes=SIZES[size_of(case)])
        if not file.exists():
            make_gguf(checkpoint, file)
    path = os.pathsep.join(map(str, [Path(sys.executable).parent, *programs, os.environ["PATH"]]))
    unwanted = ("LLM_ATC_", "VIRTUAL_ENV", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment = kept | {"LLM_ATC_HOME": str(home), "PATH": path}
    return environment, {case: folder / file_of(case) for case in chosen}


def file_of(case: str) -> str:
    """What the case serves: a folder for vLLM, a file for llama-server."""
    name = size_of(case).replace(" ", "-")
    return name if case.startswith("vLLM") else f"{name}.gguf"


def size_of(case: str) -> str:
    return case.split(", ")[1]


def forget(file: Path) -> None:
    """Have the system drop what it keeps of the file in memory."""
    with file.open("rb") as opened:
        os.fdatasync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def slow_disk(model: Path) -> Iterator[None]:
    """While it lasts, this process and what it starts read no faster from the model's disk."""
    device = model.stat().st_dev
    limit = f"{os.major(device)}:{os.minor(device)} {SLOW_DISK}"
    try:
        THROTTLED.mkdir(exist_ok=True)
        THROTTLED.joinpath("blkio.throttle.read_bps_device").write_text(limit)
        THROTTLED.joinpath("cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        raise SystemExit(f"the disk cannot be made slow here: {error}") from error
    try:
        yield
    finally:
        THROTTLED.parent.joinpath("cgroup.procs").write_text(str(os.getpid()))
        with suppress(OSError):  # what was started in it still ends
            THROTTLED.rmdir()


def serve_line(model: Path, port: int, options: list[str], *more: str) -> list[str]:
    words = ["llm-atc", "serve", "--name", str(model), "--cloud", "local", "-c", "ready"]
    return [*words, "--port", str(port), "--yes", *more, "--", *options]


def with_llm_atc(model: Path, options: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds until `llm-atc serve` has returned, and what of the processor its own processes took."""
    begun = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        serve_line(model, free_port(), options), env=environment, capture_output=True, text=True, check=False
    )
    spent = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"llm-atc serve failed:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    state = json.loads(Path(environment["LLM_ATC_HOME"], "local", "ready", "state.json").read_text())
    own = [psutil.Process(pid).cpu_times() for pid in (state["supervisor"]["pid"], state["relay"])]
    cpu = sum(one.user + one.system for one in own)
    cpu += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    subprocess.run(["llm-atc", "down", "ready", "--yes"], env=environment, capture_output=True, check=True)
    return {"llm-atc": spent, "own": cpu}


def bare(model: Path, options: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds until the same engine with the same options, started by itself, has answered."""
    dry = serve_line(model, free_port(), options, "--dry-run")
    told = subprocess.run(dry, env=environment, capture_output=True, text=True, check=False)
    port, command = told_by_dry_run(told.stdout)
    begun = time.perf_counter()
    started = subprocess.Popen(
        ["sh", "-c", f"exec env {command}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (healthy(port) and answers(port)):
            if started.poll() is not None or time.perf_counter() - begun > PATIENCE:
                raise SystemExit(f"it does not start: {command}")
            time.sleep(POLL)
        return {"bare": time.perf_counter() - begun}
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(60)


def told_by_dry_run(text: str) -> tuple[int, str]:
    """The engine's port and its command, variables before it and all in one line."""
    command = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).strip()
    found = re.search(r"--port (\d+)", command)
    if found is None:
        raise SystemExit(f"no port in {text!r}")
    return int(found[1]), command


def healthy(port: int) -> bool:
    return _ask(port, "GET", "/health", None)[0] == 200


def answers(port: int) -> bool:
    _, told = _ask(port, "GET", "/v1/models", None)
    if not told:
        return False
    model = json.loads(told)["data"][0]["id"]
    asked = {"model": model, "prompt": "Hello", "max_tokens": 1}
    return _ask(port, "POST", "/v1/completions", asked)[0] == 200


def _ask(port: int, method: str, path: str, body: object) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def measure(rounds: int, chosen: list[str]) -> dict[str, dict[str, Any]]:
    """Of each case the medians, their ratio, and every round's seconds."""
    with tempfile.TemporaryDirectory() as directory:
        environment, models = prepared(Path(directory), chosen)
        found: dict[str, dict[str, Any]] = {}
        for case in chosen:
            load, taken = round(os.getloadavg()[0], 1), dict[str, list[float]]()
            for number in range(rounds + 1):
                for start in (with_llm_atc, bare) if number % 2 else (bare, with_llm_atc):
                    for what, seconds in start_once(start, case, models[case], environment).items():
                        print(f"{case:36}{what:10}{seconds:8.2f} s", file=sys.stderr)
                        if number:
                            taken.setdefault(what, []).append(round(seconds, 3))
            found[case] = {"load_before": load, **compared(taken)}
        return found


def start_once(start: Start, case: str, model: Path, environment: dict[str, str]) -> dict[str, float]:
    """One start under the case's conditions."""
    options = OPTIONS[case.split(", ")[0]]
    if not case.endswith(FROM_DISK):
        return start(model, options, environment)
    forget(model)
    with slow_disk(model):
        return start(model, options, environment)


def compared(found: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and llm-atc's as a multiple of the other."""
    medians = {who: round(statistics.median(seconds), 3) for who, seconds in found.items()}
    return {**medians, "ratio": round(medians["llm-atc"] / medians["bare"], 3), "rounds": found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ready")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3, after one that does not count")
    parser.add_argument("--only", choices=CASES, action="append", help="repeatable; default: every case")
    parser.add_argument("--write", action="store_true", help="write results/ready.json and docs too")
    given = parser.parse_args()
    if not shutil.which("llm-atc", path=str(Path(sys.executable).parent)):
        raise SystemExit("llm-atc is not installed beside this Python")
    cases = measure(given.rounds, given.only or list(CASES))
    if given.write:  # the cases that were not asked for stay
        kept = json.loads(RESULTS.joinpath("ready.json").read_text())["cases"] | cases
        cases = {case: kept[case] for case in CASES if case in kept}
    found = {"cores": os.cpu_count(), "cases": cases}
    if given.write:
        keep("ready", found)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for case, one in cases.items():
        print(f"{case:36} bare {one['bare']} s, llm-atc {one['llm-atc']} s: {one['ratio']} times")


if __name__ == "__main__":
    main()
