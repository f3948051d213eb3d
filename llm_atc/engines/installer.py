"""The engines of this machine under one roof: install, list, remove."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from llm_atc.engines.folder import MARKER, read_marker
from llm_atc.engines.machine import read_machine
from llm_atc.errors import EngineAbsent, EngineError
from llm_atc.folders import held
from llm_atc.plan.engine import EngineName, Machine, Pin
from llm_atc.ports import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An engine's environment on this machine: `bytes` is what it takes on the disk.

    An environment that is not `complete` was interrupted, or is being installed now.
    """

    environment: str
    engine: str
    version: str
    path: Path
    bytes: int
    complete: bool


class EnginesHere:
    """The engines below `HOME/engines`. `prefer_own` lets a `llama-server` on PATH come first."""

    def __init__(self, home: Path, *, prefer_own: bool = True) -> None:
        self._root = home / "engines"
        self._prefer_own = prefer_own

    def machine(self) -> Machine:
        """What an engine must know of this machine."""
        return read_machine()

    def ensure(self, pin: Pin, report: Reporter) -> str:
        """The path of the pinned engine's executable, installed first when it is not there.

        A second process that asks for the same pin waits for the first. Raises EngineError.
        """
        if pin.engine is EngineName.LLAMA_CPP and self._prefer_own:
            from llm_atc.engines import llama_cpp

            if own := llama_cpp.own():
                report.note(f"Using your own llama-server: {own}")
                return own
        folder = self._root / pin.environment
        try:
            with held(folder, make=True) as lock:
                if lock is not None:  # also held by uv, which may outlive us when we are killed
                    os.set_inheritable(lock, True)
                return str(_install(pin, folder, report))
        except OSError as error:
            raise EngineError(f"Could not install {pin.environment} into {folder}: {error}.") from error

    def installed(self) -> tuple[Installed, ...]:
        """Every environment that is there, by name."""
        if not self._root.is_dir():
            return ()
        folders = sorted(path for path in self._root.iterdir() if path.is_dir())
        return tuple(_describe(folder) for folder in folders)

    def remove(self, environment: str) -> None:
        """Remove one environment, by the name that `installed` gives it; waits while it is being installed.

        Raises EngineAbsent when there is none of that name.
        """
        if environment not in {one.environment for one in self.installed()}:
            raise EngineAbsent(f"No engine is installed as {environment!r}.", hint="llm-atc engines list")
        folder = self._root / environment
        if folder.is_symlink():
            folder.unlink()
            return
        with held(folder) as lock:
            if lock is not None:
                folder.joinpath(MARKER).unlink(missing_ok=True)
                shutil.rmtree(folder)


def _install(pin: Pin, folder: Path, report: Reporter) -> Path:
    match pin.engine:
        case EngineName.VLLM:
            from llm_atc.engines import vllm

            return vllm.install(pin, folder, report)
        case EngineName.LLAMA_CPP:
            from llm_atc.engines import llama_cpp

            return llama_cpp.install(pin, folder, report)
        case _:
            assert_never(pin.engine)


def _describe(folder: Path) -> Installed:
    marker = read_marker(folder)
    engine, _, version = folder.name.rpartition("-")
    return Installed(
        environment=folder.name,
        engine=str(marker.get("engine") or engine),
        version=str(marker.get("version") or version),
        path=folder,
        bytes=_size(folder),
        complete=bool(marker),
    )


def _size(folder: Path) -> int:
    """Bytes on the disk; files with several links count once."""
    seen = {}
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        seen[(found.st_dev, found.st_ino)] = found.st_blocks * 512
    return sum(seen.values())
