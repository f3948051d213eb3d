"""Machines in a cloud, through SkyPilot: an ordinary cluster of the deployment's name, with one job."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from llm_atc.errors import CloudError, NotReady
from llm_atc.plan.diagnosis import clean
from llm_atc.plan.failover import Failover
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.ports import EngineState, MachineState, Observation, Quote, Reporter, Secrets
from llm_atc.targets.sky_client import LineStream, sky_quiet
from llm_atc.targets.sky_offers import best_offer, hourly_cost, usable_clouds

Document = Callable[[Plan], str]
_LIVE_REQUESTS = ("PENDING", "RUNNING")


class SkyVm:
    """The Target of clouds. Keeps nothing: SkyPilot's API server knows every cluster by name."""

    def __init__(self, document: Document) -> None:
        """`document` renders a plan as the text of a SkyPilot task."""
        self._document = document

    def launch(self, plan: Plan, secrets: Secrets, report: Reporter, *, timeout: float = 3600) -> None:
        report.stage(Stage.PROVISION)
        with sky_quiet(report) as sky:
            values = [(name, secrets[name].reveal()) for name in plan.secret_names]
            task = sky.Task.from_yaml_config(yaml.safe_load(self._document(plan)), secrets_overrides=values)
            self._end_jobs(sky, plan.name)
            failover = Failover()
            request = sky.launch(task, cluster_name=plan.name, no_setup=not plan.setup)
            with _cancelled_after(timeout, sky, request) as late:
                try:
                    sky.stream_and_get(request, output_stream=LineStream(report, failover.hear))
                except KeyboardInterrupt:
                    # The server would go on with it: an interrupted launch is cancelled, and what it left
                    # behind is for `status` and `down`.
                    sky.get(sky.api_cancel(request, silent=True))
                    raise
                except sky.exceptions.RequestCancelled as error:
                    if not late.is_set():
                        raise
                    raise NotReady(
                        f"{plan.name} got no machine within {timeout:.0f} seconds; the attempt was ended.",
                        hint="llm-atc serve … --timeout 7200   (or another --region)",
                    ) from error
            if failover.note is not None:
                report.note(failover.note)

    def clouds(self, cloud: str | None) -> tuple[str, ...]:
        with sky_quiet() as sky:
            return usable_clouds(sky, cloud)

    def quote(self, plan: Plan) -> Quote:
        with sky_quiet() as sky:
            task = sky.Task.from_yaml_config(yaml.safe_load(self._document(plan)))
            return best_offer(sky, task.resources, plan.place.cloud, plan.num_nodes)

    def observe(self, name: str, *, fresh: bool = False) -> Observation:
        with sky_quiet() as sky:
            mode = sky.StatusRefreshMode.FORCE if fresh else sky.StatusRefreshMode.NONE
            records = sky.get(sky.status([name], refresh=mode, all_users=True))
            if not records:
                if _launches(sky, name):
                    return Observation(
                        machine=MachineState.STARTING, detail="SkyPilot is looking for a machine"
                    )
                return Observation(machine=MachineState.ABSENT)
            return self._observed(sky, records[0])

    def _observed(self, sky: Any, record: Any) -> Observation:
        where = f"{record.cloud}/{record.region}".lower()
        facts: dict[str, Any] = {
            "resources": f"{where} {record.accelerators or ''}".rstrip(),
            "hourly": _hourly(record.handle),
            "launched": float(record.launched_at),
        }
        if record.status == sky.ClusterStatus.STOPPED:
            return Observation(machine=MachineState.STOPPED, **facts)
        if record.status == sky.ClusterStatus.INIT:
            return _half_up(sky, record, facts)
        try:
            engine, detail = self._job(sky, record.name)
        except sky.exceptions.ClusterNotUpError:
            # SkyPilot calls a machine up that runs, also when the launch ended before it could be used.
            return _half_up(sky, record, facts)
        except sky.exceptions.ClusterDoesNotExist:
            return Observation(machine=MachineState.ABSENT)
        return Observation(
            machine=MachineState.UP, engine=engine, detail=detail, address=_address(sky, record.name), **facts
        )

    def _job(self, sky: Any, name: str) -> tuple[EngineState, str | None]:
        jobs = [job for job in self._jobs(sky, name) if job.job_name == name]
        if not jobs:
            return EngineState.NONE, None
        status = max(jobs, key=lambda job: job.job_id).status
        if status in (sky.JobStatus.RUNNING,):
            return EngineState.RUNNING, None
        if status.is_terminal():
            return EngineState.ENDED, f"its job ended: {status.value}"
        return EngineState.STARTING, status.value

    def _jobs(self, sky: Any, name: str) -> list[Any]:
        found: list[Any] = sky.get(sky.queue(name, skip_finished=False, all_users=True))
        return found

    def _end_jobs(self, sky: Any, name: str) -> None:
        """End the engine that runs on a machine that is up; nothing to do for any other."""
        records = sky.get(sky.status([name], all_users=True))
        if records and records[0].status == sky.ClusterStatus.UP:
            with contextlib.suppress(sky.exceptions.ClusterNotUpError):
                sky.get(sky.cancel(name, all_users=True))

    def stop(self, name: str, report: Reporter) -> None:
        with sky_quiet(report) as sky:
            try:
                sky.stream_and_get(sky.stop(name), output_stream=LineStream(report))
            except sky.exceptions.ClusterDoesNotExist:
                return

    def down(self, name: str, report: Reporter) -> None:
        with sky_quiet(report) as sky:
            launches = _launches(sky, name)
            if launches:
                sky.get(sky.api_cancel(launches, silent=True))
            try:
                sky.stream_and_get(sky.down(name), output_stream=LineStream(report))
            except (sky.exceptions.ClusterDoesNotExist, sky.exceptions.NoClusterLaunchedError):
                return

    def logs(self, name: str, *, follow: bool, lines: int | None = None) -> Iterator[str]:
        with sky_quiet() as sky:
            jobs = [job.job_id for job in self._jobs(sky, name)]
            if not jobs:
                return
            chunks = sky.tail_logs(name, max(jobs), follow=follow, tail=lines or 0, preload_content=False)
        rest = ""
        for chunk in chunks:
            if chunk is None:
                break
            *whole, rest = (rest + chunk).split("\n")
            yield from (clean(line) for line in whole)
        if rest:
            yield clean(rest)


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


def _half_up(sky: Any, record: Any, facts: dict[str, Any]) -> Observation:
    """A machine that is being brought up, or was left half way."""
    if _launches(sky, record.name):
        return Observation(machine=MachineState.STARTING, detail=record.init_status_reason, **facts)
    detail = "it was never brought up completely, and may cost money: take it down"
    return Observation(machine=MachineState.UNKNOWN, detail=detail, **facts)


def _launches(sky: Any, name: str) -> list[str]:
    """The requests by which the API server is bringing up this cluster now."""
    requests = sky.api_status(cluster_name=name)
    return [
        request.request_id
        for request in requests
        if request.cluster_name == name
        and request.status in _LIVE_REQUESTS
        and request.name.rsplit(".", 1)[-1] in ("launch", "start")
    ]


def _hourly(handle: Any) -> float | None:
    return hourly_cost(handle.launched_resources, handle.launched_nodes) if handle is not None else None


def _address(sky: Any, name: str) -> str | None:
    try:
        endpoints = sky.get(sky.endpoints(name))
    except (ValueError, RuntimeError, CloudError):
        return None  # no address yet
    return next((str(address).removeprefix("http://") for address in endpoints.values()), None)
