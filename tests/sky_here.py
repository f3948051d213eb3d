"""SkyPilot itself, for tests that compare with it: its own warnings are not ours to mend."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sky
    from sky.skylet import constants
    from sky.utils import common_utils, registry, schemas


def clouds() -> set[str]:
    """The clouds that SkyPilot knows, by its own names."""
    return set(registry.CLOUD_REGISTRY)


def cloud_aliases() -> dict[str, str]:
    """Other names that SkyPilot takes for a cloud."""
    return dict(registry.CLOUD_REGISTRY._aliases)


def cluster_name_pattern() -> str:
    """The regular expression that a cluster's name must match."""
    return str(constants.CLUSTER_NAME_VALID_REGEX)


def check_cluster_name(name: str) -> None:
    """SkyPilot's own check. Raises its InvalidClusterNameError."""
    common_utils.check_cluster_name_is_valid(name)


def check_schema(config: dict[str, Any]) -> None:
    """SkyPilot's own schema for a task's YAML. Raises ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        common_utils.validate_schema(config, schemas.get_task_schema(), "Invalid task: ")


def read_task(config: dict[str, Any], secrets: dict[str, str]) -> sky.Task:
    """The task as SkyPilot reads it, with these secrets given as on its command line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sky.Task.from_yaml_config(config, secrets_overrides=list(secrets.items()))
