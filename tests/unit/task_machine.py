"""A machine with stand-ins for what the task templates' scripts call, and the scripts run on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from llm_atc.store.task_templates import load_template

ONE_MACHINE = "vllm.yaml"
SEVERAL_MACHINES = "vllm_nodes.yaml"
ENVIRONMENTS = {
    ONE_MACHINE: "vllm-0.32.0",
    SEVERAL_MACHINES: "vllm-0.32.0-ray",
    "llama_cpp.yaml": "llama-cpp-0.3.36",
}
BASH = shutil.which("bash") or "/bin/bash"


RECORD = """#!{python}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
files = {{}}
for flag, path in zip(arguments, arguments[1:]):
    if flag == "--config":
        files[path] = [oct(os.stat(path).st_mode & 0o777), Path(path).read_text()]
with open(os.environ["HOME"] + "/{name}.jsonl", "a") as record:
    print(json.dumps([arguments, dict(os.environ), files]), file=record)
{then}
"""
INSTALLS = "os.makedirs(arguments[-1] + '/bin') if arguments[0] == 'venv' else None"
FAILS = "sys.exit(7 if arguments[0] == 'pip' else 0)"
# The first machine's Ray runs until it is told to end; the second's ends when the first has ended.
TWO_NODES = """
import time
if arguments[0] == "status":
    print("node_1\\nnode_2\\nPending:\\n node_3")
elif "--head" in arguments:
    time.sleep(60)
elif arguments[0] == "health-check":
    sys.exit('"start"' in Path(os.environ["HOME"] + "/ray.jsonl").read_text())
else:
    sys.exit(1)
"""


@dataclass(frozen=True)
class Call:
    """One run of a stand-in: its arguments, its environment, and the files that --config named."""

    arguments: list[str]
    environment: dict[str, str]
    files: dict[str, list[str]]

    def option(self, name: str) -> str | None:
        """The word that follows this option."""
        return self.arguments[self.arguments.index(name) + 1] if name in self.arguments else None


class Machine:
    """A home directory with stand-ins, in which a task's script runs with nothing else of this machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.programs = home / "programs"
        self.engine = self.environment(ONE_MACHINE)
        self.put(self.programs / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    def environment(self, template: str) -> Path:
        """Where this template's engine is installed."""
        return self.home / ".llm-atc" / "engines" / ENVIRONMENTS[template]

    def put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def stand_in(self, path: Path, then: str = "") -> None:
        """Put a program there that records how it was called, and then does what `then` says."""
        self.put(path, RECORD.format(python=sys.executable, name=path.name, then=then))

    def run(self, script: str, envs: dict[str, str]) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": f"{self.programs}:/usr/bin:/bin"} | envs
        return subprocess.run(
            [BASH, "-c", script],
            env=environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, program: str) -> list[Call]:
        """How a stand-in was called, first call first."""
        record = self.home / f"{program}.jsonl"
        return (
            [Call(*json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []
        )


def serve(machine: Machine, template: str = ONE_MACHINE, **envs: str) -> Call:
    """Run the template's `run` with these variables; how vLLM was called."""
    machine.stand_in(machine.environment(template) / "bin" / "vllm")
    loaded = load_template(template)
    ran = machine.run(loaded["run"], loaded["envs"] | loaded["secrets"] | envs)
    assert ran.stdout.splitlines()[-1:] == ["[llm-atc] the engine ended with code 0"], ran.stderr
    assert ran.returncode == 1, "an engine's end is always a failure, although it said 0"
    (call,) = machine.calls("vllm")
    assert not any(Path(path).exists() for path in call.files), (
        "a file of keys stays no longer than its engine"
    )
    return call
