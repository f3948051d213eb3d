"""A launch through SkyPilot, in an order in which no machine is left that would not stop by itself.

    an empty task      brings the machine up and arms autostop, before any file is copied
    the task itself    copies files, arms autostop for the time after the job, submits the job

SkyPilot arms autostop only after the file mounts. So a launch that is killed while a checkpoint is copied
would leave a machine that nothing stops.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Iterator
from typing import Any

from llm_atc.errors import NotReady
from llm_atc.plan.ending import Action
from llm_atc.plan.failover import Failover
from llm_atc.plan.plan import Plan
from llm_atc.ports import Reporter, Secrets
from llm_atc.targets.sky_client import LineStream, sky_quiet
from llm_atc.targets.sky_offers import hourly_cost

PRICE = "DOLLARS_AN_HOUR"


class Launch:
    """One launch; `run` returns when the job is submitted."""

    def __init__(
        self, sky: Any, plan: Plan, config: dict[str, Any], report: Reporter, timeout: float
    ) -> None:
        self._sky, self._plan, self._config = sky, plan, config
        self._report, self._failover = report, Failover()
        self._timeout, self._deadline = timeout, time.monotonic() + timeout

    def run(self, secrets: Secrets) -> None:
        """Bring up, arm, copy, submit. Raises NotReady when that took longer than it may."""
        if self._plan.ending.action is not None:
            self._arm(self._plan.ending.action)
        self._end_jobs()
        values = [(name, secrets[name].reveal()) for name in self._plan.secret_names]
        task = self._sky.Task.from_yaml_config(copy.deepcopy(self._config), secrets_overrides=values)
        if PRICE in self._config["envs"] and (price := self._price()) is not None:
            task.update_envs({PRICE: f"{price:.6f}"})
        self._wait(
            self._sky.launch(task, cluster_name=self._plan.name, no_setup=not self._plan.setup),
        )
        if self._failover.note is not None:
            self._report.note(self._failover.note)

    def _arm(self, action: Action) -> None:
        """See to it that there is a machine, and that it ends by itself while no job runs on it."""
        minutes = self._plan.ending.copy_minutes
        if self._status() == self._sky.ClusterStatus.UP and self._armed(minutes, action):
            return
        parts = ("name", "resources", "num_nodes")
        empty = copy.deepcopy({part: self._config[part] for part in parts if part in self._config})
        empty["resources"]["autostop"]["idle_minutes"] = minutes
        task = self._sky.Task.from_yaml_config(empty)
        self._wait(self._sky.launch(task, cluster_name=self._plan.name))

    def _armed(self, minutes: int, action: Action) -> bool:
        """Arm a machine that is up; False when it is up no longer."""
        from sky.skylet.autostop_lib import AutostopWaitFor

        sky, down = self._sky, action is Action.DOWN
        try:
            request = sky.autostop(self._plan.name, minutes, wait_for=AutostopWaitFor.JOBS, down=down)
            sky.get(request)
        except (sky.exceptions.ClusterNotUpError, sky.exceptions.ClusterDoesNotExist):
            return False
        return True

    def _end_jobs(self) -> None:
        """End the engine that runs on a machine that is up; nothing to do for any other."""
        sky = self._sky
        if self._status() == sky.ClusterStatus.UP:
            with contextlib.suppress(sky.exceptions.ClusterNotUpError):
                sky.get(sky.cancel(self._plan.name, all_users=True))

    def _status(self) -> Any:
        records = self._records()
        return records[0].status if records else None

    def _records(self) -> list[Any]:
        sky = self._sky
        found: list[Any] = sky.get(
            sky.status([self._plan.name], refresh=sky.StatusRefreshMode.FORCE, all_users=True)
        )
        return found

    def _price(self) -> float | None:
        """Dollars an hour of the machine that was had, which need not be the one that was offered."""
        records = self._records()
        handle = records[0].handle if records else None
        return hourly_cost(handle.launched_resources, handle.launched_nodes) if handle is not None else None

    def _wait(self, request: str) -> None:
        """Follow a request to its end, or cancel it when there is no time left."""
        sky = self._sky
        left = max(self._deadline - time.monotonic(), 1)
        with _cancelled_after(left, sky, request) as late:
            try:
                sky.stream_and_get(request, output_stream=LineStream(self._report, self._failover.hear))
            except KeyboardInterrupt:
                # The server would go on with it: an interrupted launch is cancelled, and what it left
                # behind is for `status` and `down`.
                sky.get(sky.api_cancel(request, silent=True))
                raise
            except sky.exceptions.RequestCancelled as error:
                if not late.is_set():
                    raise
                raise NotReady(
                    f"{self._plan.name} got no machine within {self._timeout:.0f} seconds; "
                    "the attempt was ended.",
                    hint="llm-atc serve … --timeout 7200   (or another --region)",
                ) from error


@contextlib.contextmanager
def _cancelled_after(seconds: float, sky: Any, request: str) -> Iterator[threading.Event]:
    """Cancel the request on the API server when the block takes longer; the event then is set.

    SkyPilot itself retries in silence for many minutes when a machine's SSH never comes up.
    """
    late = threading.Event()

    def cancel() -> None:
        late.set()
        with sky_quiet():
            sky.api_cancel(request, silent=True)

    timer = threading.Timer(seconds, cancel)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
