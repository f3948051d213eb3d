"""The programs that installers call: uv, pip, cmake. What they say is passed on line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from uv import find_uv_bin

from llm_atc.errors import EngineError
from llm_atc.ports import Reporter

# These tell uv which environment to work on; the installers say that themselves.
_MISLEADING = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT")
_LAST_LINES = 12


def run(
    argv: Sequence[str],
    report: Reporter,
    *,
    doing: str,
    environ: Mapping[str, str] | None = None,
    hint: str | None = None,
) -> None:
    """Run a program to its end and tell each line that it prints.

    Raises EngineError, with its last lines, when it fails; `doing` ends the sentence "Could not …". An
    interrupt ends the program and all that it started.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=clean_environment() | dict(environ or {}),
            process_group=0,
            close_fds=False,  # the installer's lock passes on, so it lasts as long as whoever writes there
        ) as process:
            try:
                assert process.stdout is not None  # noqa: S101 - asked for above
                for line in process.stdout:
                    if line.strip():
                        last.append(line.rstrip())
                        report.line(line.rstrip())
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
    except OSError as error:
        raise EngineError(f"Could not {doing}: {error}.", hint=hint) from error
    if process.returncode:
        raise EngineError(
            f"Could not {doing}: {Path(argv[0]).name} ended with {process.returncode}.",
            hint=hint,
            details=tuple(last),
        )


def clean_environment() -> dict[str, str]:
    """The user's environment without the variables that point Python and uv at another environment."""
    return {name: value for name, value in os.environ.items() if name not in _MISLEADING}


def uv() -> str:
    """The path of uv, which came with llm-atc."""
    return find_uv_bin()


def make_environment(folder: Path, report: Reporter) -> Path:
    """A new, empty Python environment in this folder; its interpreter's path."""
    python = sys.executable if sys.version_info < (3, 14) else "3.13"  # what vLLM's builds are made for
    argv = [uv(), "venv", "--quiet", "--python", python, "--allow-existing", str(folder)]
    run(argv, report, doing=f"make a Python environment in {folder}")
    return folder / "bin" / "python"


def pip_setting(name: str) -> tuple[str, ...]:
    """The values of a setting in pip's configuration and environment, neither of which uv reads."""
    values = os.environ.get(f"PIP_{name.replace('-', '_').upper()}", "").split()
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", f"global.{name}"],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    if done.returncode == 0:
        values += done.stdout.split()
    return tuple(dict.fromkeys(values))


def uv_sources() -> tuple[str, ...]:
    """The options that tell uv where pip was told to look: its find-links, and its index when uv has none."""
    options = [f"--find-links={place}" for place in pip_setting("find-links")]
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys():
        options += [f"--default-index={url}" for url in pip_setting("index-url")[:1]]
    return tuple(options)
