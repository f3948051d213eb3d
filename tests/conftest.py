"""What every test shares: the plug-ins with fixtures, and the rule that nothing real may be skipped in CI."""

from __future__ import annotations

import os
import signal

import pytest

pytest_plugins = ["tests.cloud.fixtures", "tests.local_fixtures", "tests.source_fixtures"]

REQUIRE = "LLM_ATC_REQUIRE_ALL"
_skipped: list[str] = []

# What a shell starts in the background ignores Ctrl-C, or with nohup a closed terminal, and so would the
# programs that tests send these to.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have what fails told at once where everything is required: who ends such a run sees no summary."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(REQUIRE) == "1" and terminal is not None:
        config.pluginmanager.register(ToldAtOnce(terminal))


class ToldAtOnce:
    """The end of each failure as soon as it is known."""

    LENGTH = 4000

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """With xdist this runs in the process that reports."""
        if report.failed:
            self._terminal.write_line(f"\n{report.nodeid}, {report.when}:")
            self._terminal.write_line(report.longreprtext[-self.LENGTH :])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped; with xdist this runs in the process that reports."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skipped test fails the run where everything is required."""
    if os.environ.get(REQUIRE) == "1" and _skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skipped tests failed the run."""
    if os.environ.get(REQUIRE) == "1" and _skipped:
        terminalreporter.section("skipped, and nothing may be skipped here", red=True)
        for nodeid in _skipped:
            terminalreporter.line(nodeid)
