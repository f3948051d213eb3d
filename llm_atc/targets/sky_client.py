"""SkyPilot's client, called quietly and with its errors in our words. Only `targets/` imports sky."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from llm_atc.errors import ApiServerUnreachable, AtcError, CloudError, CloudNotReady, ProvisionFailed
from llm_atc.plan.diagnosis import clean
from llm_atc.plan.progress import stage_of
from llm_atc.ports import Reporter

START_API = "sky api start   (and: sky api info)"


class LineStream(io.TextIOBase):
    """A text stream that hands every whole line, and the stage it tells of, to a reporter.

    `hear` gets each line, too.
    """

    def __init__(self, report: Reporter | None, hear: Callable[[str], None] | None = None) -> None:
        self._report = report
        self._hear = hear
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
        for line in filter(None, map(clean, lines)):
            if self._hear is not None:
                self._hear(line)
            if self._report is not None:
                if stage := stage_of(line):
                    self._report.stage(stage)
                self._report.line(line)
        return len(text)


class _Stdout(io.TextIOBase):
    """Stands for stdout once SkyPilot is loaded: what it prints inside `sky_quiet` goes to that reporter.

    Each thread has its own reporter, so that blocks of several threads may overlap. A thread of SkyPilot's
    own has none, and is not heard while a block is open.
    """

    def __init__(self, real: TextIO) -> None:
        self._real = real
        self._open = 0
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextlib.contextmanager
    def to(self, report: Reporter | None) -> Iterator[None]:
        before: LineStream | None = getattr(self._local, "stream", None)
        self._local.stream = LineStream(report)
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            self._local.stream = before
            with self._lock:
                self._open -= 1

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        stream: LineStream | None = getattr(self._local, "stream", None)
        if stream is not None:
            return stream.write(text)
        if self._open and threading.current_thread() is not threading.main_thread():
            return len(text)
        return self._real.write(text)

    def flush(self) -> None:
        self._real.flush()

    def fileno(self) -> int:
        return self._real.fileno()

    def isatty(self) -> bool:
        return self._real.isatty() and getattr(self._local, "stream", None) is None


_stdout: _Stdout | None = None
_loading = threading.Lock()


def _quiet_stdout() -> _Stdout:
    """SkyPilot talks on stdout, which belongs to our data, and its loggers keep the stdout that they first
    saw: so it is replaced, once and for all, before SkyPilot is imported."""
    global _stdout
    with _loading:
        if _stdout is None:
            _stdout = _Stdout(sys.stdout)
            sys.stdout = _stdout
            with _stdout.to(None):
                import sky  # noqa: F401

                _close_to_others()
    return _stdout


def _close_to_others() -> None:
    """SkyPilot's API server keeps each launch for a day, with its secrets' values, in a file that others on
    this machine may read: nobody but its user gets into its folder."""
    from sky.server import constants

    folder = Path(constants.API_SERVER_REQUEST_DB_PATH).expanduser().parent
    with contextlib.suppress(OSError):  # the server is another user's, or elsewhere
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)


@contextlib.contextmanager
def sky_quiet(report: Reporter | None = None) -> Iterator[Any]:
    """SkyPilot's module, with what it prints handed to `report`, and its errors translated."""
    with _quiet_stdout().to(report):
        import sky

        with translated():
            yield sky


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """SkyPilot's errors in our words."""
    try:
        yield
    except (AtcError, KeyboardInterrupt):
        raise
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error


def translate(error: Exception) -> AtcError | None:
    """SkyPilot's error in our words; None for one that is our own bug."""
    from requests.exceptions import RequestException
    from sky import exceptions

    text = first_line(error)
    if isinstance(error, RequestException) and _from_elsewhere(error):
        return CloudError(text, hint="llm-atc doctor")
    table: tuple[tuple[tuple[type[BaseException], ...], Callable[[], AtcError]], ...] = (
        (
            (
                exceptions.ApiServerConnectionError,
                exceptions.ApiServerAuthenticationError,
                RequestException,  # the server ended, or went silent, in the middle of an answer
            ),
            lambda: ApiServerUnreachable(f"SkyPilot's API server does not answer: {text}", hint=START_API),
        ),
        (
            (exceptions.APIVersionMismatchError, exceptions.APINotSupportedError),
            lambda: ApiServerUnreachable(
                f"SkyPilot's API server is of another version: {text}", hint=START_API
            ),
        ),
        (
            (
                exceptions.NoCloudAccessError,
                exceptions.InvalidCloudCredentials,
                exceptions.InvalidCloudConfigs,
                exceptions.CloudUserIdentityError,
            ),
            lambda: CloudNotReady(text, hint="sky check"),
        ),
        ((exceptions.ResourcesUnavailableError,), lambda: _unavailable(error)),
        (
            (exceptions.ResourcesMismatchError,),
            lambda: ProvisionFailed(
                f"The machine that is there is another one than asked for: {text}",
                hint="take another name with -c, or remove it first: llm-atc down NAME",
            ),
        ),
        (
            (exceptions.StorageError, exceptions.StorageSpecError),
            lambda: CloudError(
                f"The checkpoint's bucket could not be read: {text}", hint="llm-atc checkpoints ls SOURCE"
            ),
        ),
        (
            (exceptions.RequestCancelled,),
            lambda: ProvisionFailed("The launch was cancelled.", hint="llm-atc status"),
        ),
    )
    for kinds, make in table:
        if isinstance(error, kinds):
            return make()
    return (
        CloudError(text, hint="sky api logs -l")
        if type(error).__module__.startswith("sky.")
        else _other(error)
    )


def _from_elsewhere(error: Any) -> bool:
    """Whether another server than SkyPilot's own was asked, such as that of its catalogue."""
    from sky.server import common

    asked = getattr(error, "request", None)
    return asked is not None and not str(asked.url).startswith(common.get_server_url())


def _unavailable(error: Exception) -> AtcError:
    text = str(error)
    if "enabled" in text and "cloud" in text.lower():
        return CloudNotReady(first_line(error), hint="sky check")
    details = tuple(line for line in map(clean, text.splitlines()) if line)[:12]
    return ProvisionFailed(
        "No cloud gave the machine.", hint="llm-atc status   (nothing is left running)", details=details
    )


def _other(error: Exception) -> AtcError | None:
    text = first_line(error)
    if isinstance(error, ValueError | RuntimeError | AssertionError | TypeError):
        return CloudError(f"SkyPilot: {text}", hint="sky api logs -l")
    return None


def first_line(error: Exception) -> str:
    """The first line of an error that says something, without colours."""
    return next((line for line in map(clean, str(error).splitlines()) if line), type(error).__name__)
