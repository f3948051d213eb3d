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

from llm_atc.errors import NotReady, ProvisionFailed
from llm_atc.plan.ending import Action
from llm_atc.plan.failover import Failover
from llm_atc.plan.plan import Plan
from llm_atc.ports import Reporter, Secrets
from llm_atc.targets.sky_client import LineStream, sky_quiet
from llm_atc.targets.sky_guard import guarded
from llm_atc.targets.sky_offers import hourly_cost

PRICE, ASKED = "DOLLARS_AN_HOUR", "ASKED_AT"


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
        there = self._there()
        up = there is not None
        if up:
            self._check_machine(there)
        if self._plan.ending.action is not None:
            up = self._arm(self._plan.ending.action, up)
        if up:
            self._end_jobs()
        values = [(name, secrets[name].reveal()) for name in self._plan.secret_names]
        task = self._sky.Task.from_yaml_config(copy.deepcopy(self._config), secrets_overrides=values)
        task.update_envs({ASKED: str(time.time())})
        if PRICE in self._config["envs"] and (price := self._price()) is not None:
            task.update_envs({PRICE: f"{price:.6f}"})
        self._wait(self._launch(task, no_setup=not self._plan.setup))
        if self._failover.note is not None:
            self._report.note(self._failover.note)

    def _arm(self, action: Action, up: bool) -> bool:
        """See to it that there is a machine, and that it ends by itself while no job runs on it.

        Whether it was up before, so that there may be jobs.
        """
        minutes = self._plan.ending.copy_minutes
        if up and self._armed(minutes, action):
            return True
        empty = self._nothing_to_run()
        empty["resources"]["autostop"]["idle_minutes"] = minutes
        task = self._sky.Task.from_yaml_config(empty)
        self._wait(self._launch(task))
        return False

    def _nothing_to_run(self) -> dict[str, Any]:
        """The task without its job and its files: the machine alone."""
        parts = ("name", "resources", "num_nodes")
        return copy.deepcopy({part: self._config[part] for part in parts if part in self._config})

    def _check_machine(self, record: Any) -> None:
        """Raise ProvisionFailed where the machine that is up is none that is asked for.

        SkyPilot tells that too, but only after what runs there was ended for it.
        """
        there = record.handle.launched_resources
        wanted = self._sky.Task.from_yaml_config(self._nothing_to_run()).resources
        if not any(one.less_demanding_than(there) for one in wanted):
            raise ProvisionFailed(
                f"The machine of {self._plan.name}, which runs on as before, is another one than asked for: "
                f"{machine_of(record)}.",
                hint=f"take another name with -c, or remove it first: llm-atc down {self._plan.name}",
            )

    def _launch(self, task: Any, **options: Any) -> str:
        """The id of a request that launches it."""
        with guarded(self._plan):
            request: str = self._sky.launch(task, cluster_name=self._plan.name, **options)
        return request

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
        """End the engine that runs there, if it still does."""
        with contextlib.suppress(self._sky.exceptions.ClusterNotUpError):
            self._sky.get(self._sky.cancel(self._plan.name, all_users=True))

    def _there(self) -> Any:
        """What SkyPilot knows of the machine that is up, None where none is: its cloud is asked, for it may
        have stopped itself."""
        sky = self._sky
        name, force = self._plan.name, sky.StatusRefreshMode.FORCE
        records = sky.get(sky.status([name], refresh=force, all_users=True))
        return records[0] if records and records[0].status == sky.ClusterStatus.UP else None

    def _price(self) -> float | None:
        """Dollars an hour of the machine that was had, which need not be the one that was offered."""
        records = self._sky.get(self._sky.status([self._plan.name], all_users=True))
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


def machine_of(record: Any) -> str:
    """Place and accelerators of a machine: `aws/us-east-1 {'L4': 1}`."""
    return f"{f'{record.cloud}/{record.region}'.lower()} {record.accelerators or ''}".rstrip()


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
