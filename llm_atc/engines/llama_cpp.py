"""llama.cpp's `llama-server` on this machine: the user's own, or one built from pinned source.

The source is llama-cpp-python's distribution on PyPI, which carries all of llama.cpp: so the usual package
index is enough, and a hash pins every line of it. CMake and Ninja come from there too, and are thrown away.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from llm_atc.engines.folder import empty, is_complete, mark_complete
from llm_atc.engines.machine import available_memory, compiler, nvidia_gpus
from llm_atc.engines.programs import clean_environment, make_environment, run, uv, uv_sources
from llm_atc.errors import EngineError
from llm_atc.plan.engine import Pin
from llm_atc.plan.progress import Stage
from llm_atc.ports import Reporter

EXECUTABLE = "llama-server"
SOURCE_PACKAGE = "llama-cpp-python"
SOURCE_HASHES = {"0.3.36": "sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
_MEMORY_FOR_ONE_COMPILER = 3 * 1024**3 // 2
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_IS_DEV": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
}
_CUDA_OPTIONS = {"GGML_CUDA": "ON", "CMAKE_CUDA_ARCHITECTURES": "native"}


def own() -> str | None:
    """The `llama-server` that the user has on PATH, from Homebrew, a distribution or a build of theirs."""
    return shutil.which(EXECUTABLE)


def install(pin: Pin, folder: Path, report: Reporter) -> Path:
    """The path of the pinned `llama-server` in this folder, built first unless it is there, complete.

    The caller holds the folder. Takes five minutes on two cores. Raises EngineError.
    """
    executable = folder / "bin" / EXECUTABLE
    if is_complete(folder, pin) and executable.exists():
        return executable
    check_compiler()
    cuda = use_cuda()
    report.stage(Stage.SET_UP)
    report.note(
        f"Building llama-server from {SOURCE_PACKAGE} {pin.version} {'for CUDA' if cuda else 'for CPUs'} "
        "(once; some minutes)."
    )
    empty(folder)
    with tempfile.TemporaryDirectory(prefix="llm-atc-llama-cpp-") as scratch:
        source = fetch_source(pin, Path(scratch), report)
        built = _build(source, Path(scratch), cuda, report)
        executable.parent.mkdir()
        shutil.copy2(built, executable)
    mark_complete(folder, pin)
    return executable


def check_compiler() -> None:
    """Raise EngineError when no C or C++ compiler is there."""
    if compiler() is None or not (shutil.which("gcc") or shutil.which("cc")):
        raise EngineError(
            f"No {EXECUTABLE} is on PATH, and there is no C++ compiler to build one.",
            hint="sudo apt-get install g++   (or: brew install llama.cpp)",
        )


def use_cuda() -> bool:
    """Whether to build for NVIDIA's GPUs: there is one, and CUDA's compiler."""
    return shutil.which("nvcc") is not None and bool(nvidia_gpus())


def fetch_source(pin: Pin, scratch: Path, report: Reporter) -> Path:
    """llama.cpp's source, unpacked. pip fetches it, from wherever the user's pip is configured to look."""
    asked = scratch / "requirements.txt"
    digest = SOURCE_HASHES.get(pin.version)
    lines = [*pin.requirements] if digest is None else [f"{r} --hash={digest}" for r in pin.requirements]
    asked.write_text("".join(f"{line}\n" for line in lines))
    fetched = scratch / "fetched"
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", SOURCE_PACKAGE]
    argv += ["--progress-bar", "off", "--dest", str(fetched), "--requirement", str(asked)]
    run(argv, report, doing="fetch llama.cpp's source")
    archive = next(fetched.glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(scratch / "source", filter="data")
    archive.unlink()
    return next(scratch.joinpath("source").iterdir()) / "vendor" / "llama.cpp"


def _build(source: Path, scratch: Path, cuda: bool, report: Reporter) -> Path:
    tools, built = scratch / "tools", scratch / "built"
    python = make_environment(tools, report)
    argv = [uv(), "pip", "install", "--quiet", "--python", str(python), *uv_sources(), "cmake>=3.28", "ninja"]
    run(argv, report, doing="fetch cmake and ninja")
    path = {"PATH": f"{tools / 'bin'}{os.pathsep}{clean_environment().get('PATH', os.defpath)}"}
    cmake = str(tools / "bin" / "cmake")
    options = _OPTIONS | (_CUDA_OPTIONS if cuda else {})
    defined = [f"-D{name}={value}" for name, value in options.items()]
    configure = [cmake, "-S", str(source), "-B", str(built), "-G", "Ninja", *defined]
    run(configure, report, doing="configure llama.cpp", environ=path)
    make = [*gently(), cmake, "--build", str(built), "--target", EXECUTABLE, "--parallel", str(jobs())]
    run(make, report, doing="build llama.cpp", environ=path)
    return built / "bin" / EXECUTABLE


def gently() -> tuple[str, ...]:
    """What goes before a command so that it yields to other programs."""
    nice = shutil.which("nice")
    return (nice, "-n", "10") if nice else ()


def jobs() -> int:
    """How many compilers may run at once: one on each core, as long as there is memory for them."""
    return max(1, min(len(os.sched_getaffinity(0)), available_memory() // _MEMORY_FOR_ONE_COMPILER))
