"""Plan → SkyPilot task: values set in the structure of a task template, never in its scripts."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.ending import MACHINE_MINUTES, Action
from llm_atc.plan.engine import EngineName
from llm_atc.plan.model import Where
from llm_atc.plan.plan import CHECKPOINTS, Plan
from llm_atc.plan.request import name_for
from llm_atc.render.yaml import dump

SKYPILOT = "0.14.1"
RELAY = "~/.llm-atc/relay"
Task = dict[str, Any]


def template_for(plan: Plan) -> str:
    """The file in `task_templates/` that this plan fills."""
    if plan.engine is EngineName.LLAMA_CPP:
        return "llama_cpp.yaml"
    return "vllm_nodes.yaml" if plan.num_nodes > 1 else "vllm.yaml"


def task(plan: Plan, template: Task, package: str) -> Task:
    """The task that SkyPilot launches. Secrets stand there by name, with null for their value.

    `package` is the folder of llm-atc's own code on this machine: its relay and its keeper go along.
    """
    filled = copy.deepcopy(template)
    filled["name"] = plan.name
    filled["resources"] = _resources(plan)
    filled["num_nodes"] = plan.num_nodes
    filled["envs"] |= {
        "MODEL": plan.checkpoint,
        **_model_file(plan),
        "PORT": str(plan.port),
        "AUTH": "key" if plan.auth else "none",
        "ENGINE_VERSION": plan.pin.version,
        "ENGINE_REQUIREMENTS": json.dumps([*plan.pin.requirements, *_beside(plan)]),
        **_installed_beside(plan),
        "ENGINE_ARGS": json.dumps(list(plan.arguments)),
        **_by_accelerator(plan),
        **_for_the_keeper(plan),
        "RELAY_ARGS": json.dumps(list(plan.relay_arguments)),
        **dict(plan.envs),
    }
    filled["secrets"] = dict.fromkeys(plan.secret_names)
    filled["file_mounts"] = _file_mounts(plan, package)
    order = ("name", "resources", "num_nodes", "file_mounts", "envs", "secrets", "setup", "run")
    return {key: filled[key] for key in order if filled.get(key)}


def _model_file(plan: Plan) -> dict[str, str]:
    """Which file of a repository llama-server loads, and of which commit; elsewhere the path names it."""
    if plan.engine is not EngineName.LLAMA_CPP:
        return {}
    if plan.model.ref.where is not Where.HUB:
        return {"MODEL_FILE": "", "MODEL_REVISION": ""}
    return {"MODEL_FILE": plan.model.file or "", "MODEL_REVISION": plan.model.revision or ""}


def _for_the_keeper(plan: Plan) -> dict[str, str]:
    """When the job ends by itself. What an hour costs is known once there is a machine."""
    ending = plan.ending
    return {
        "IDLE_MINUTES": str(ending.idle_minutes),
        "TTL_SECONDS": "" if ending.ttl is None else str(ending.ttl),
        "BUDGET_DOLLARS": "" if ending.budget is None else f"{ending.budget:g}",
        **_set_later(plan),
        "DOLLARS_AN_HOUR": "",
        **_for_the_guard(plan),
    }


def _set_later(plan: Plan) -> dict[str, str]:
    """From when on those limits count that were set after the launch."""
    since = {"TTL_SINCE": plan.ending.ttl_since, "BUDGET_SINCE": plan.ending.budget_since}
    return {name: str(moment) for name, moment in since.items() if moment is not None}


def _for_the_guard(plan: Plan) -> dict[str, str]:
    """Where SkyPilot's agent runs, and ends the machine: of several on the first alone, so they have none."""
    if plan.num_nodes > 1:
        return {}
    return {"GUARD_MINUTES": "" if plan.ending.action is None else str(plan.ending.copy_minutes)}


def _beside(plan: Plan) -> tuple[str, ...]:
    return ("ray[default]",) if plan.num_nodes > 1 else ()


def _installed_beside(plan: Plan) -> dict[str, str]:
    """What the way of the weights needs in the engine's environment, and the cache that it goes with."""
    if plan.delivery is None or not plan.delivery.beside:
        return {}
    found = {"BESIDE_REQUIREMENTS": json.dumps(list(plan.delivery.beside))}
    if plan.delivery.cache is not None:
        found |= {"CACHE": plan.delivery.cache, "CACHE_REVISION": plan.model.revision or ""}
    return found


def _by_accelerator(plan: Plan) -> dict[str, str]:
    """What the task reads once it knows which machine it got."""
    sets = {str(one.accelerator): list(one.arguments) for one in plan.by_accelerator}
    return {"ENGINE_ARGS_BY_ACCELERATOR": json.dumps(sets)} if sets else {}


def _resources(plan: Plan) -> Task:
    machines = _chosen(plan) if plan.choices else _named(plan)
    found: Task = {
        **machines,
        "disk_size": plan.disk_size,
        "image_id": plan.image,
        "ports": None if plan.private else plan.port,
        # Armed for the time after the job: what runs is for the keeper to end.
        "autostop": plan.ending.action
        and {
            "idle_minutes": MACHINE_MINUTES,
            "down": plan.ending.action is Action.DOWN,
            "wait_for": "jobs",
        },
    }
    return {key: value for key, value in found.items() if value}


def _named(plan: Plan) -> Task:
    if plan.spot:
        return {
            "ordered": [one for accelerator in plan.accelerators for one in _spot_first(plan, accelerator)]
        }
    accelerators = [str(accelerator) for accelerator in plan.accelerators]
    return {
        "infra": plan.place.infra,
        # A list is SkyPilot's way to say: in this order of preference.
        "accelerators": accelerators[0] if len(accelerators) == 1 else accelerators,
    }


def _spot_first(plan: Plan, accelerator: Accelerator) -> Iterator[Task]:
    """A spot machine, and one on demand for when there is none."""
    for spot in (True, False):
        wish = {"infra": plan.place.infra, "accelerators": str(accelerator), "use_spot": spot}
        yield {key: value for key, value in wish.items() if value is not None}


def _chosen(plan: Plan) -> Task:
    """The machines that llm-atc chose, for SkyPilot to try one after the other, each in all of its zones."""
    return {
        "ordered": [
            {
                "infra": replace(plan.place, cloud=choice.offer.cloud, region=choice.offer.region).infra,
                "instance_type": choice.offer.instance_type,
                "accelerators": str(choice.offer.accelerator),
                "use_spot": choice.spot,
            }
            for choice in plan.choices
        ]
    }


def _file_mounts(plan: Plan, package: str) -> Task:
    found: Task = {f"{RELAY}/llm_atc": package, **dict(plan.files)}
    ref = plan.model.ref
    if ref.where is not Where.HUB and not plan.streamed:
        found[f"{CHECKPOINTS}/{name_for(ref.name)}"] = ref.location
    return found


def document(plan: Plan, filled: Task, version: str) -> str:
    """The task as a file that `sky launch` accepts, with that command in the comment at its head."""
    words = ["sky", "launch", "FILE", "-c", plan.name]
    for name in plan.secret_names:
        words += ["--secret", name]
    lines = [
        f"{plan.model.ref.name} on {plan.engine} {plan.pin.version}, rendered by llm-atc {version} "
        f"for SkyPilot {SKYPILOT}. Launch it with:",
        f"  {shlex.join(words)}",
    ]
    if plan.secret_names:
        lines.append("Each secret's value is then taken from your environment; none is written here.")
    lines += [f"Note: {note}" for note in plan.notes]
    return "".join(f"# {_one_line(line)}\n" for line in lines) + dump(filled)


def _one_line(text: str) -> str:
    """The text as a comment can hold it: whatever would end the line, or the file, is a blank."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
