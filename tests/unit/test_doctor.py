"""What a doctor says of a set-up and of a deployment, and what mends it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from llm_atc import doctor
from llm_atc.errors import CloudError, DeploymentNotFound
from llm_atc.plan.preflight import Finding, Grade, ok
from llm_atc.targets.sky_setup import VERSION
from tests.fakes import ABSENT, STOPPED, Fakes, ended
from tests.unit.serving import serve


def grades(findings: tuple[Finding, ...]) -> dict[str, Grade]:
    return {one.check: one.grade for one in findings}


def test_a_check_that_fails_is_a_finding_and_the_others_go_on() -> None:
    def fails() -> Iterator[Finding]:
        yield ok("a", "Good.")
        raise CloudError("No answer.", hint="sky api start")

    found = doctor.examined((("a", fails), ("b", lambda: [ok("b", "Good too.")])))
    assert [(one.check, one.grade) for one in found] == [
        ("a", Grade.OK),
        ("a", Grade.BROKEN),
        ("b", Grade.OK),
    ]
    assert (found[1].says, found[1].cure) == ("No answer.", "sky api start")


def test_a_deployment_that_is_well_has_nothing_broken(fakes: Fakes) -> None:
    serve(fakes)
    fakes.probe.replies = ["401", None]
    found = grades(doctor.of_deployment(fakes.world, "demo"))
    assert found == dict.fromkeys(("machine", "engine", "port", "key", "answer"), Grade.OK)


def test_an_endpoint_that_asks_for_no_key_is_broken(fakes: Fakes) -> None:
    serve(fakes)
    fakes.probe.replies = [None, None]
    assert grades(doctor.of_deployment(fakes.world, "demo"))["key"] is Grade.BROKEN


def test_a_port_that_nobody_reaches_is_broken(fakes: Fakes) -> None:
    serve(fakes)
    fakes.probe.health = False
    *_, port = doctor.of_deployment(fakes.world, "demo")
    assert (port.check, port.grade) == ("port", Grade.BROKEN)
    assert (port.cure or "").startswith("ssh demo curl -s 127.0.0.1:8000/health")


def test_an_engine_that_ended_tells_its_last_words(fakes: Fakes) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = ended()
    fakes.cloud.log = ("torch.OutOfMemoryError: CUDA out of memory.",)
    found = doctor.of_deployment(fakes.world, "demo")
    assert grades(found) == {"machine": Grade.OK, "engine": Grade.BROKEN, "log": Grade.BROKEN}
    assert found[-1].says.startswith("The model and its KV cache do not fit into the memory.")


@pytest.mark.parametrize(("seen", "says"), [(STOPPED, "It is stopped."), (ABSENT, "It is gone.")])
def test_a_machine_that_is_not_up_is_broken(fakes: Fakes, seen: object, says: str) -> None:
    serve(fakes)
    fakes.cloud.seen["demo"] = seen  # type: ignore[assignment]
    machine = doctor.of_deployment(fakes.world, "demo")[0]
    assert (machine.says, machine.grade, machine.cure) == (says, Grade.BROKEN, "llm-atc start demo")


def test_a_name_that_nobody_knows_is_an_error(fakes: Fakes) -> None:
    with pytest.raises(DeploymentNotFound):
        doctor.of_deployment(fakes.world, "nope")


def test_the_version_of_skypilot_is_the_one_that_is_pinned() -> None:
    (pinned,) = (one for one in importlib.metadata.requires("llm-atc") or () if one.startswith("skypilot"))
    assert pinned.endswith(f"=={VERSION}")
