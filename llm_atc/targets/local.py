"""Plans that run on this machine, each under a supervisor that outlives the command that started it.

`supervisor.py` keeps one engine and its relay; `local_folder.py` is the folder it tells its state in;
`processes.py` tells a process from whoever gets its number later. A command may be killed at any moment: the
folder's lock passes from it to the supervisor, so the next command finds either nothing or an engine that is
registered.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from llm_atc.access import mint_key
from llm_atc.errors import DeploymentError, DeploymentNotFound, EngineError, EngineFailed
from llm_atc.plan.diagnosis import diagnose
from llm_atc.plan.plan import Plan
from llm_atc.plan.request import check_name
from llm_atc.ports import Clock, Engines, EngineState, MachineState, Models, Observation, Reporter, Secrets
from llm_atc.render.command import ENGINE_KEY, KEYS, LOOPBACK, command, environment, relay_command
from llm_atc.targets.local_folder import Folder, LocalState
from llm_atc.targets.local_log import follow_log, read_log
from llm_atc.targets.local_ports import choose_port, engine_port, reachable
from llm_atc.targets.processes import RUN_VARIABLE, boot_id, kill_session, session_members
from llm_atc.targets.supervisor import LOG, SPEC, write_json

GRACE = 20.0  # seconds from SIGTERM to SIGKILL
LOG_BYTES, LOG_FILES = 10 * 1024**2, 3
_MARGIN = 15.0  # seconds that a supervisor has for its own end, beside the engine's
# These point Python at llm-atc's own environment; an engine has another.
_OURS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
_POLL = 0.2


class LocalTarget:
    """Runs plans on this machine; see `ports.TargetHere`.

    `grace` is how many seconds an engine has to end by itself; `log_bytes` is each log file's size.
    """

    def __init__(
        self,
        home: Path,
        engines: Engines,
        models: Models,
        clock: Clock | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        grace: float = GRACE,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._root = home / "local"
        self._engines, self._models = engines, models
        self._sleep = clock.sleep if clock else time.sleep
        self._environ = os.environ if environ is None else environ
        self._grace, self._log_bytes = grace, log_bytes

    def launch(self, plan: Plan, secrets: Secrets, report: Reporter, *, timeout: float = 3600) -> None:
        """Install what is missing, then start the engine; one that runs under this name is replaced then.

        There is no machine to be had here, so `timeout` ends nothing.
        """
        self._launch(plan, secrets, report, tied=None)

    def foreground(self, plan: Plan, secrets: Secrets, report: Reporter) -> None:
        """Run the engine until Ctrl-C or SIGTERM, telling its log by `report.line`; nothing is left behind.

        The engine ends when this process does, however that ends. Raises EngineFailed when the engine ends
        by itself. To be called in the main thread.
        """
        folder = self._folder(plan.name)
        ours, theirs = os.pipe()
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            try:
                self._launch(plan, secrets, report, tied=ours)
                for line in self.logs(plan.name, follow=True):
                    report.line(line)
                raise _failure(plan.name, folder)
            except KeyboardInterrupt:
                report.note(f"Stopping {plan.name}.")
            finally:
                with _not_interrupted():
                    self.down(plan.name, report)
        finally:
            os.close(ours)
            os.close(theirs)
            signal.signal(signal.SIGTERM, before)

    def observe(self, name: str, *, fresh: bool = False) -> Observation:
        """The truth now, which takes milliseconds, fresh or not.

        An engine that ended by itself shows as `UP` and `ENDED`; after `stop`, or a restart of this machine,
        as `STOPPED`.
        """
        folder = self._folder(name)
        state = folder.state()
        if state is not None and state.supervisor.alive() and state.word in ("running", "stopping"):
            address = reachable(state.host, state.port)
            return Observation(machine=MachineState.UP, engine=EngineState.RUNNING, address=address)
        if folder.launching():
            return Observation(machine=MachineState.STARTING, detail="it is being launched")
        if state is None:
            if not folder.exists():
                return Observation(machine=MachineState.ABSENT)
            return Observation(machine=MachineState.STOPPED, detail="its launch was interrupted")
        return _observe_ended(state)

    def stop(self, name: str, report: Reporter) -> None:
        """End the engine and keep its folder. Blocks until nothing of it runs: for the grace, at the most."""
        folder = self._folder(name)
        with folder.held() as lock:
            if lock is not None:
                self._end(folder)
                folder.say_stopped(lock)

    def down(self, name: str, report: Reporter) -> None:
        """End the engine and remove its folder; a launch that is under way will find it gone and give up."""
        folder = self._folder(name)
        with folder.held() as lock:
            if lock is not None:
                self._end(folder)
                folder.remove()

    def logs(self, name: str, *, follow: bool, lines: int | None = None) -> Iterator[str]:
        """What the engine said since it was started last. Raises DeploymentNotFound."""
        folder = self._folder(name)
        if not folder.exists():
            raise DeploymentNotFound(f"Nothing called {name} runs on this machine.", hint="llm-atc status")
        if not follow:
            return read_log(folder.path, lines)
        state = folder.state()

        def goes_on() -> bool:
            now = folder.state()
            if state is None:
                return folder.launching() or (now is not None and now.supervisor.alive())
            return now is not None and now.run == state.run and now.supervisor.alive()

        return follow_log(folder.path, lines, goes_on=goes_on, wait=lambda: self._sleep(_POLL))

    def check_port(self, plan: Plan) -> None:
        if plan.port_fixed and self._port_of(plan.name) != plan.port:
            choose_port(plan, self._taken())

    def is_here(self, path: str) -> bool:
        return Path(path).exists()

    def _folder(self, name: str) -> Folder:
        return Folder(self._root / check_name(name))

    def _launch(self, plan: Plan, secrets: Secrets, report: Reporter, *, tied: int | None) -> None:
        folder = self._folder(plan.name)
        self.check_port(plan)  # now rather than after an installation
        launch = folder.announce()
        try:
            executable = plan.executable or (self._engines.ensure(plan.pin, report),)
            model = self._models.fetch(plan.model, report)
            with folder.held() as lock:
                if lock is None or not folder.announced(launch):
                    raise DeploymentError(f"{plan.name} was stopped while it was being launched.")
                self._end(folder)
                folder.clear()
                # One at a time from choosing a port to telling of it: an engine takes it only seconds later.
                with Folder(self._root).held(make=True):
                    self._start(folder, lock, plan, secrets, (executable, model), report, tied)
        finally:
            folder.withdraw(launch)

    def _start(
        self,
        folder: Folder,
        lock: int,
        plan: Plan,
        secrets: Secrets,
        found: tuple[tuple[str, ...], str],
        report: Reporter,
        tied: int | None,
    ) -> None:
        executable, model = found
        port = choose_port(plan, self._taken())
        if port != plan.port:
            report.note(f"Port {plan.port} is taken: {plan.name} listens on {port}.")
        behind = engine_port(port, {*self._taken(), port})
        environ = self._environment(plan, secrets, executable[0])
        passed = (*environment(plan), *secrets, plan.key_variable)
        run = uuid.uuid4().hex
        spec = {
            "run": run,
            "argv": command(plan, executable, model, LOOPBACK, behind, passed),
            "relay": relay_command(plan, port, behind, open_to_all=KEYS not in environ),
            "host": plan.host or LOOPBACK,
            "port": port,
            "engine_port": behind,
            "grace": self._grace,
            "log_bytes": self._log_bytes,
            "log_files": LOG_FILES,
            "log_file": plan.log_file,
            "tied": tied is not None,
            "secrets": sorted(secrets),
        }
        write_json(SPEC, spec, folder=lock)
        self._supervise(folder, lock, environ | {RUN_VARIABLE: run}, tied)
        _check_started(plan.name, folder, run)

    def _supervise(self, folder: Folder, lock: int, environ: Mapping[str, str], tied: int | None) -> None:
        argv = [sys.executable, "-I", "-m", "llm_atc.targets.supervisor", str(folder.path), str(lock)]
        with folder.path.joinpath("supervisor.log").open("wb") as said:
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL if tied is None else tied,
                stdout=said,
                stderr=said,
                env=environ,
                pass_fds=(lock,),
                start_new_session=True,
                check=False,
            )

    def _environment(self, plan: Plan, secrets: Secrets, executable: str) -> dict[str, str]:
        """The engine's variables, and the relay's: the endpoint's keys are the relay's alone, and the engine
        has one that nobody else knows."""
        environ = {
            name: value
            for name, value in self._environ.items()
            if not name.startswith("LLM_ATC_") and name not in _OURS and name != plan.key_variable
        }
        environ["PATH"] = f"{Path(executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
        environ |= environment(plan) | {name: secret.reveal() for name, secret in secrets.items()}
        keys = environ.pop(plan.key_variable, None)
        behind = mint_key().reveal()
        environ |= {plan.key_variable: behind, ENGINE_KEY: behind}
        return environ | {KEYS: keys} if keys else environ

    def _port_of(self, name: str) -> int | None:
        """The port on which this deployment's engine listens now: it will be free when that is replaced."""
        state = self._folder(name).state()
        return state.port if state and state.supervisor.alive() else None

    def _taken(self) -> dict[int, str]:
        """The ports of all engines that run here, and whose they are."""
        folders = self._root.iterdir() if self._root.is_dir() else ()
        states = {path.name: Folder(path).state() for path in folders if path.is_dir()}
        alive = {name: state for name, state in states.items() if state and state.supervisor.alive()}
        return {port: name for name, one in alive.items() for port in (one.port, one.engine_port) if port}

    def _end(self, folder: Folder) -> None:
        """End whatever runs; the caller holds the folder. EngineError when something cannot be ended."""
        state = folder.state()
        if state is None:
            return
        if not state.supervisor.end(signal.SIGTERM, wait=self._grace + _MARGIN):
            state.supervisor.end(signal.SIGKILL, wait=_MARGIN)
        if not kill_session(state.supervisor, state.run):
            left = ", ".join(str(one.pid) for one in session_members(state.supervisor, state.run))
            raise EngineError(f"The system does not let go of {folder.path.name}'s processes: {left}.")


def _observe_ended(state: LocalState) -> Observation:
    """How it stands with an engine whose supervisor is gone."""
    left = session_members(state.supervisor, state.run)
    if state.word == "stopped" or (state.tied and not left):
        # A run in the foreground is over with its command, and means nothing to anybody any more.
        return Observation(machine=MachineState.ABSENT if state.tied else MachineState.STOPPED)
    if state.word == "ended":
        return Observation(machine=MachineState.UP, engine=EngineState.ENDED, detail=_how(state))
    if state.supervisor.boot != boot_id():
        return Observation(
            machine=MachineState.STOPPED, engine=EngineState.ENDED, detail="this machine was restarted"
        )
    detail = "its supervisor was killed"
    if left:
        detail += f", and {len(left)} of its processes still run"
    return Observation(machine=MachineState.UP, engine=EngineState.ENDED, detail=detail)


def _how(state: LocalState) -> str:
    """`exited with 1 at 2026-03-01 12:00:00`, in the machine's own time."""
    if state.error:
        return f"could not be started: {state.error}"
    if state.cause:
        return f"was ended: {state.cause}"
    how = f"exited with {state.code}"
    if state.code is not None and state.code < 0:
        with suppress(ValueError):
            how = f"was killed by {signal.Signals(-state.code).name}"
    when = datetime.fromtimestamp(state.ended or 0).astimezone()
    return f"{how} at {when:%Y-%m-%d %H:%M:%S}"


def _check_started(name: str, folder: Folder, run: str) -> None:
    state = folder.state()
    if state is None or state.run != run:
        said = folder.path.joinpath("supervisor.log").read_text(errors="replace").splitlines()
        raise EngineError(f"The supervisor of {name} did not start.", details=tuple(said[-8:]))
    if state.error:
        raise EngineError(f"The engine of {name} could not be started: {state.error}.")


def _failure(name: str, folder: Folder) -> EngineFailed:
    """Why the engine of a foreground run ended, as far as its log says."""
    state = folder.state()
    found = diagnose("\n".join(read_log(folder.path, None)))
    how = _how(state) if state is not None and state.word == "ended" else "is gone"
    return EngineFailed(f"The engine of {name} {how}. {found.cause}", hint=found.advice, details=found.lines)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM are not heard."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["GRACE", "LOG", "LOG_BYTES", "LocalTarget"]
