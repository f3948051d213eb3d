"""What the tests of the launcher ask for, and how they answer its questions."""

from __future__ import annotations

from dataclasses import replace

from llm_atc import launcher
from llm_atc.access import Secret
from llm_atc.errors import (
    Declined,
)
from llm_atc.launcher import Until
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.places import Place
from llm_atc.plan.request import Request
from tests.fakes import Fakes

L4 = Accelerator(name="L4")
A100 = Accelerator(name="A100")
CLOUD = Request(model="Qwen/Qwen3-0.6B", name="demo", place=Place(cloud="gcp"), accelerators=(L4,))
HERE = Request(model="Qwen/Qwen3-0.6B", name="demo", place=Place(cloud="local"))
NEEDS_TOKEN = replace(CLOUD, secrets=(("HF_TOKEN", Secret("hf_given")),))
STILL_RUNNING = (
    "The machine of demo is still running and costs $0.50 an hour. Remove it with: llm-atc down demo"
)
ENDS_ITSELF = (
    "The machine of demo is still running and costs $0.50 an hour. It stops by itself within minutes. "
    "Remove it with: llm-atc down demo"
)


def yes(question: str) -> None:
    """Agree to everything."""


def no(question: str) -> None:
    raise Declined(question)


def serve(fakes: Fakes, request: Request = CLOUD, until: Until = Until.READY) -> launcher.Status:
    return launcher.serve(fakes.world, request, fakes.report, confirm=yes, order=yes, until=until, timeout=60)


def is_forgotten(fakes: Fakes) -> bool:
    return fakes.store.get("demo") is None and fakes.kept("demo") == {}
