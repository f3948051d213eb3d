"""What an engine must know of the machine that llm-atc runs on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from llm_atc.plan.engine import Machine


def read_machine() -> Machine:
    """The cores this process may use, the free memory, its nodes, NVIDIA's GPUs, and whether g++ is there."""
    gpus = nvidia_gpus()
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=available_memory(),
        gpu=gpus[0] if gpus else None,
        gpus=len(gpus),
        compiler=compiler() is not None,
        disk=shutil.disk_usage(Path.home()).free,
        nodes=len([*Path("/sys/devices/system/node").glob("node[0-9]*")]) or 1,
    )


def nvidia_gpus() -> tuple[str, ...]:
    """The names of NVIDIA's GPUs as `nvidia-smi` lists them; none without it or its driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if done.returncode != 0:
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that programs can still take without swapping; 0 when the system does not tell."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def compiler() -> str | None:
    """The C++ compiler on PATH."""
    return shutil.which("g++") or shutil.which("c++")
