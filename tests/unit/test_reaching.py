"""Endpoints that nobody else can reach, and endpoints behind TLS."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from llm_atc import launcher, reaching
from llm_atc.bootstrap import render
from llm_atc.certificates import Certificate
from llm_atc.cli import output
from llm_atc.cli import status as cli_status
from llm_atc.errors import AtcError, CloudError, DeploymentError, EngineError, UsageError
from llm_atc.plan.flag_checks import check_flags
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.plan import make_plan
from llm_atc.plan.request import Request
from llm_atc.ports import Observation
from llm_atc.states import State
from tests.fakes import ABSENT, STOPPED, Fakes, ended
from tests.unit.serving import CLOUD, HERE, is_forgotten, serve

PRIVATE = replace(CLOUD, private=True)
TLS = replace(CLOUD, tls=True)
REPLACED = DeploymentError("It is another one than before.", hint="llm-atc connect demo --new-host-key")
MINE = Certificate.make("mine", datetime(2026, 3, 1, tzinfo=UTC))


def task(request: Request) -> Any:
    spec = ModelSpec(ref=ModelRef.parse(request.model), looked=True)
    return yaml.safe_load(render(make_plan(request, spec)))


def test_a_private_endpoint_opens_no_port_and_listens_on_its_machines_loopback() -> None:
    made = task(PRIVATE)
    assert "ports" not in made["resources"]
    assert "127.0.0.1:8000" in made["envs"]["RELAY_ARGS"]
    assert task(CLOUD)["resources"]["ports"] == 8000


def test_a_private_endpoint_is_waited_for_through_a_tunnel_that_is_closed_then(fakes: Fakes) -> None:
    status = serve(fakes, PRIVATE)
    assert status.state is State.READY
    assert {address for address, *_ in fakes.probe.asked} == {"127.0.0.1:40000"}
    assert fakes.tunnels.opened[0] == ("demo", 8000)
    assert fakes.tunnels.open_now == 0


def test_a_private_endpoint_has_no_address_until_somebody_is_connected(fakes: Fakes) -> None:
    assert serve(fakes, PRIVATE).url is None
    with pytest.raises(DeploymentError) as refused:
        launcher.endpoint(fakes.world, "demo")
    assert refused.value.hint == "llm-atc connect demo"
    fakes.tunnels.kept["demo"] = "127.0.0.1:8123"
    assert launcher.endpoint(fakes.world, "demo").url == "http://127.0.0.1:8123"
    opened = len(fakes.tunnels.opened)
    assert launcher.status_of(fakes.world, "demo").url == "http://127.0.0.1:8123"
    assert len(fakes.tunnels.opened) == opened


def test_a_private_machine_that_cannot_be_reached_is_not_called_ready(fakes: Fakes) -> None:
    serve(fakes, PRIVATE)
    fakes.tunnels.raises = CloudError("no route")
    assert launcher.status_of(fakes.world, "demo").state is State.STARTING


def test_a_new_launch_forgets_the_host_key_of_the_machine_before(fakes: Fakes) -> None:
    serve(fakes, PRIVATE)
    assert fakes.tunnels.forgotten == ["demo"]
    launcher.restart(fakes.world, "demo", fakes.report)
    assert fakes.tunnels.forgotten == ["demo"]


@pytest.mark.parametrize(("seen", "forgotten"), [(ABSENT, ["demo"]), (STOPPED, []), (ended(), [])])
@pytest.mark.parametrize("verb", [launcher.start, launcher.restart])
def test_a_host_key_is_forgotten_when_its_machine_is_gone_and_only_then(
    fakes: Fakes, verb: Callable[..., launcher.Status], seen: Observation, forgotten: list[str]
) -> None:
    serve(fakes, PRIVATE)
    fakes.tunnels.forgotten.clear()
    fakes.cloud.seen["demo"] = seen
    assert verb(fakes.world, "demo", fakes.report).state is State.READY
    assert fakes.tunnels.forgotten == forgotten


def test_another_machine_in_place_of_a_living_one_is_refused(fakes: Fakes) -> None:
    serve(fakes, PRIVATE)
    fakes.tunnels.forgotten.clear()
    fakes.tunnels.raises = REPLACED
    with pytest.raises(DeploymentError, match="another one than before"):
        launcher.start(fakes.world, "demo", fakes.report)
    assert fakes.tunnels.forgotten == []


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (REPLACED, "It is another one than before. Try: llm-atc connect demo --new-host-key"),
        (EngineError("There is no `ssh`."), "There is no `ssh`."),
        (CloudError("no route"), "no route"),
    ],
)
def test_a_tunnel_that_cannot_be_opened_is_told_with_the_state(
    fakes: Fakes, raised: AtcError, said: str
) -> None:
    serve(fakes, PRIVATE)
    fakes.tunnels.raises = raised
    status = launcher.status_of(fakes.world, "demo")
    assert (status.state, status.url, status.detail) == (State.STARTING, None, said)


def test_a_tunnel_that_cannot_be_opened_hides_no_other_deployment(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(fakes, PRIVATE)
    serve(fakes, replace(CLOUD, name="open"))
    fakes.tunnels.raises = REPLACED
    monkeypatch.setattr(cli_status, "open_world", lambda: fakes.world)
    cli_status.status(as_json=True)
    assert [(one["name"], one["state"]) for one in json.loads(capsys.readouterr().out)] == [
        ("demo", "starting"),
        ("open", "ready"),
    ]


def test_down_removes_a_machine_that_no_tunnel_leads_to(fakes: Fakes) -> None:
    serve(fakes, PRIVATE)
    fakes.tunnels.raises = REPLACED
    assert launcher.down(fakes.world, "demo", fakes.report).state is State.GONE
    assert fakes.cloud.did() == ["launch demo", "down demo"]
    assert is_forgotten(fakes)


def test_connecting_ends_when_the_machine_is_gone(fakes: Fakes) -> None:
    serve(fakes, PRIVATE)
    plan = launcher.find(fakes.world, "demo").plan
    fakes.cloud.seen["demo"] = STOPPED
    with pytest.raises(DeploymentError, match="stopped") as refused:
        reaching.connect(fakes.world, plan, fakes.report)
    assert refused.value.hint is not None
    assert "llm-atc start demo" in refused.value.hint


def test_one_command_at_a_time_keeps_a_tunnel(fakes: Fakes) -> None:
    serve(fakes, PRIVATE)
    fakes.tunnels.kept["demo"] = "127.0.0.1:8123"
    with pytest.raises(DeploymentError, match="connected already"):
        reaching.connect(fakes.world, launcher.find(fakes.world, "demo").plan, fakes.report)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (replace(PRIVATE, host="0.0.0.0"), "--private and --host"),
        (replace(HERE, private=True), "--private is for a cloud"),
        (replace(HERE, tls=True), "--tls is for a cloud"),
    ],
)
def test_what_contradicts_it_is_refused(request_: Request, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_flags(request_)


def test_a_certificate_is_made_kept_as_a_secret_and_shown_to_the_probe(fakes: Fakes) -> None:
    status = serve(fakes, TLS)
    assert status.url == "https://127.0.0.1:8000"
    ((_, secrets),) = fakes.cloud.launched
    certificate = launcher.endpoint(fakes.world, "demo").certificate
    assert certificate is not None
    assert secrets["LLM_ATC_TLS"] == certificate.packed().reveal()
    assert {one.fingerprint for one in fakes.probe.certificates if one} == {certificate.fingerprint}
    assert None not in fakes.probe.certificates


def test_a_certificate_of_ones_own_takes_its_place(fakes: Fakes) -> None:
    serve(fakes, replace(TLS, certificate=MINE))
    found = launcher.endpoint(fakes.world, "demo").certificate
    assert found is not None
    assert found.fingerprint == MINE.fingerprint


def test_a_later_start_shows_the_same_certificate(fakes: Fakes) -> None:
    serve(fakes, TLS)
    before = launcher.endpoint(fakes.world, "demo").certificate
    launcher.restart(fakes.world, "demo", fakes.report)
    after = launcher.endpoint(fakes.world, "demo").certificate
    assert before is not None
    assert after is not None
    assert after.fingerprint == before.fingerprint


def test_no_task_holds_a_certificate() -> None:
    made = task(TLS)
    assert made["secrets"]["LLM_ATC_TLS"] is None
    assert "--tls-env" in made["envs"]["RELAY_ARGS"]


def test_the_curl_line_pins_the_key_of_the_certificate(fakes: Fakes) -> None:
    serve(fakes, replace(TLS, certificate=MINE))
    line = output.curl_line(launcher.endpoint(fakes.world, "demo"))
    assert line.startswith(f"curl -k --pinnedpubkey sha256//{MINE.pin} https://127.0.0.1:8000/v1/models")


def test_the_certificate_that_is_handed_out_has_no_private_key(fakes: Fakes) -> None:
    serve(fakes, TLS)
    found = launcher.endpoint(fakes.world, "demo")
    for text in (output.certificate_text(found), str(output.endpoint_facts(found))):
        assert "BEGIN CERTIFICATE" in text
        assert "PRIVATE" not in text


def test_an_endpoint_without_tls_has_no_certificate(fakes: Fakes) -> None:
    serve(fakes)
    with pytest.raises(DeploymentError, match="plain HTTP"):
        output.certificate_text(launcher.endpoint(fakes.world, "demo"))
