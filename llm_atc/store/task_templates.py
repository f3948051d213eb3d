"""The task templates that ship with llm-atc: in the wheel beside the package, in a checkout at its top."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

import llm_atc


@cache
def read_template(name: str) -> str:
    """The text of `task_templates/NAME`. Raises FileNotFoundError for one that does not ship."""
    shipped = resources.files(llm_atc) / "task_templates" / name
    if shipped.is_file():
        return shipped.read_text()
    return (Path(llm_atc.__file__).parent.parent / "task_templates" / name).read_text()


def load_template(name: str) -> dict[str, Any]:
    """The template as a value."""
    loaded: dict[str, Any] = yaml.safe_load(read_template(name))
    return loaded
