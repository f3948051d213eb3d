"""Machines in a cloud, through SkyPilot: an ordinary cluster of the deployment's name, with one job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from llm_atc.errors import CloudError, DeploymentError
from llm_atc.plan.diagnosis import clean
from llm_atc.plan.ending import Ending
from llm_atc.plan.plan import Plan
from llm_atc.plan.progress import Stage
from llm_atc.plan.quota import Allowance
from llm_atc.plan.request import on_cloud
from llm_atc.ports import EngineState, MachineState, Observation, Quote, Reporter, Secrets
from llm_atc.targets.sky_client import LineStream, sky_quiet, translated
from llm_atc.targets.sky_launch import ASKED, Launch, machine_of
from llm_atc.targets.sky_offers import best_offer, hourly_cost, usable_clouds
from llm_atc.targets.sky_quota import allowances

Document = Callable[[Plan], str]
# The package lies where the task put it; any Python 3 runs this part of it.
_EXTEND = "PYTHONPATH=~/.llm-atc/relay exec python3 -m llm_atc.keeper.extend"
_EXTEND_SECONDS = 60.0
_LIVE_REQUESTS = ("PENDING", "RUNNING")


class SkyVm:
    """The Target of clouds. Keeps nothing: SkyPilot's API server knows every cluster by name."""

    def __init__(self, document: Document) -> None:
        """`document` renders a plan as the text of a SkyPilot task."""
        self._document = document

    def launch(self, plan: Plan, secrets: Secrets, report: Reporter, *, timeout: float = 3600) -> None:
        report.stage(Stage.PROVISION)
        with sky_quiet(report) as sky:
            _check_no_twin(sky, plan.name)
            Launch(sky, plan, yaml.safe_load(self._document(plan)), report, timeout).run(secrets)

    def extend(self, plan: Plan) -> None:
        with sky_quiet() as sky:
            task = sky.Task(name=f"{plan.name}-extend", run=_EXTEND, envs=_limits(plan.ending))
            job, _ = sky.get(sky.exec(task, cluster_name=plan.name))
            deadline = time.monotonic() + _EXTEND_SECONDS
            while not (status := sky.get(sky.job_status(plan.name, [job]))[job]).is_terminal():
                if time.monotonic() > deadline:
                    raise CloudError(f"{plan.name} took no new limits.", hint=f"sky queue {plan.name}")
                time.sleep(1)
            if status != sky.JobStatus.SUCCEEDED:
                raise CloudError(f"{plan.name} took no new limits.", hint=f"sky logs {plan.name} {job}")

    def clouds(self, cloud: str | None) -> tuple[str, ...]:
        with sky_quiet() as sky:
            return usable_clouds(sky, cloud)

    def quote(self, plan: Plan) -> Quote:
        with sky_quiet() as sky:
            task = sky.Task.from_yaml_config(yaml.safe_load(self._document(plan)))
            return best_offer(sky, task.resources, plan.place.cloud, plan.num_nodes)

    def allowances(self, plan: Plan) -> tuple[Allowance, ...]:
        with sky_quiet() as sky:
            task = sky.Task.from_yaml_config(yaml.safe_load(self._document(plan)))
            return allowances(sky, task.resources, plan.num_nodes)

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
            try:
                return self._observed(sky, records[0])
            except sky.exceptions.ClusterNotUpError:
                if not fresh:  # it may have stopped itself since SkyPilot last looked
                    return self.observe(name, fresh=True)
                # SkyPilot calls a machine up that runs, also when the launch ended before it could be used.
                return _half_up(sky, records[0], _facts(records[0]))

    def _observed(self, sky: Any, record: Any) -> Observation:
        facts = _facts(record)
        if record.status == sky.ClusterStatus.STOPPED:
            return Observation(machine=MachineState.STOPPED, **facts)
        if record.status == sky.ClusterStatus.AUTOSTOPPING:
            return Observation(machine=MachineState.UP, engine=EngineState.FINISHED, **facts)
        if record.status == sky.ClusterStatus.INIT:
            return _half_up(sky, record, facts)
        try:
            engine, detail = self._job(sky, record.name)
        except sky.exceptions.ClusterDoesNotExist:
            return Observation(machine=MachineState.ABSENT)
        return Observation(
            machine=MachineState.UP, engine=engine, detail=detail, address=_address(sky, record.name), **facts
        )

    def _job(self, sky: Any, name: str) -> tuple[EngineState, str | None]:
        jobs = self._jobs(sky, name)
        if not jobs:
            return EngineState.NONE, None
        status = max(jobs, key=lambda job: job.job_id).status
        if status in (sky.JobStatus.RUNNING,):
            return EngineState.RUNNING, None
        if status == sky.JobStatus.SUCCEEDED:
            return EngineState.FINISHED, "it ended by itself, and its machine ends within minutes"
        if status.is_terminal():
            return EngineState.ENDED, f"its job ended: {status.value}"
        return EngineState.STARTING, status.value

    def _jobs(self, sky: Any, name: str) -> list[Any]:
        """The engine's jobs, and none of the user's own, or of those that bring the keeper new limits."""
        jobs = sky.get(sky.queue(name, skip_finished=False, all_users=True))
        return [job for job in jobs if job.job_name == name]

    def stop(self, name: str, report: Reporter) -> None:
        with sky_quiet(report) as sky:
            _cancel_launches(sky, name)
            try:
                sky.stream_and_get(sky.stop(name), output_stream=LineStream(report))
            except sky.exceptions.ClusterDoesNotExist:
                return

    def down(self, name: str, report: Reporter) -> None:
        with sky_quiet(report) as sky:
            _cancel_launches(sky, name)
            try:
                sky.stream_and_get(sky.down(name), output_stream=LineStream(report))
            except (sky.exceptions.ClusterDoesNotExist, sky.exceptions.NoClusterLaunchedError):
                return

    def logs(self, name: str, *, follow: bool, lines: int | None = None) -> Iterator[str]:
        with sky_quiet() as sky:
            try:
                jobs = [job.job_id for job in self._jobs(sky, name)]
            except (sky.exceptions.ClusterNotUpError, sky.exceptions.ClusterDoesNotExist) as error:
                raise DeploymentError(
                    f"The machine of {name} is stopped, and its log lies on its disk.",
                    hint=f"llm-atc start {name}",
                ) from error
            if not jobs:
                return
            chunks = sky.tail_logs(name, max(jobs), follow=follow, tail=lines or 0, preload_content=False)
        rest = ""
        with translated():  # and not `sky_quiet`: what is said between two lines is not SkyPilot's
            for chunk in chunks:
                if chunk is None:
                    break
                *whole, rest = (rest + chunk).split("\n")
                yield from (clean(line) for line in whole)
        if rest:
            yield clean(rest)


def _limits(ending: Ending) -> dict[str, str]:
    """What `keeper/extend.py` reads. This machine's clock tells which of launch and extension is newer."""
    values = {
        "TTL_SECONDS": ending.ttl,
        "TTL_SINCE": ending.ttl_since,
        "BUDGET_DOLLARS": ending.budget,
        "BUDGET_SINCE": ending.budget_since,
        ASKED: time.time(),
    }
    return {name: str(value or "") for name, value in values.items()}


def _facts(record: Any) -> dict[str, Any]:
    """What a record of SkyPilot's tells of a machine in any state."""
    return {
        "resources": machine_of(record),
        "hourly": _hourly(record.handle),
        "launched": float(record.launched_at),
    }


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


def _cancel_launches(sky: Any, name: str) -> None:
    """End what brings this cluster up now, or it would be up again afterwards."""
    launches = _launches(sky, name)
    if launches:
        sky.get(sky.api_cancel(launches, silent=True))


def _check_no_twin(sky: Any, name: str) -> None:
    """Clouds know a cluster by a name in small letters, without `.` and `_`: two of one form are one machine.

    Raises DeploymentError when another one's name has the form of this one's.
    """
    names = [record.name for record in sky.get(sky.status())]  # another user's have another end
    twin = next((other for other in names if other != name and on_cloud(other) == on_cloud(name)), None)
    if twin is not None:
        raise DeploymentError(
            f"{name} and {twin}, which is there already, would be one machine: a cloud cannot tell the names "
            "apart.",
            hint=f"take another name with -c   (or: llm-atc down {twin})",
        )


def _hourly(handle: Any) -> float | None:
    return hourly_cost(handle.launched_resources, handle.launched_nodes) if handle is not None else None


def _address(sky: Any, name: str) -> str | None:
    try:
        endpoints = sky.get(sky.endpoints(name))
    except (ValueError, RuntimeError, CloudError):
        return None  # no address yet
    return next((str(address).removeprefix("http://") for address in endpoints.values()), None)
