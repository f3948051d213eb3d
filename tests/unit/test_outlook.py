"""What is known before anything exists, and what is refused then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_atc import launcher
from llm_atc.errors import (
    AtcError,
    CloudNotReady,
    EngineError,
    ModelGated,
    ModelNotFound,
    OfferError,
    SourceError,
    UsageError,
)
from llm_atc.outlook import look
from llm_atc.plan.papers import Papers
from llm_atc.plan.preflight import Grade
from tests.fakes import Fakes
from tests.unit.serving import CLOUD, HERE

NOBODY = lambda _: None  # noqa: E731  answers every question with yes


def serve(fakes: Fakes, *, force: bool = False) -> None:
    launcher.serve(fakes.world, CLOUD, fakes.report, confirm=NOBODY, order=NOBODY, force=force)


def test_a_plan_that_starts_says_so(fakes: Fakes) -> None:
    found = look(fakes.world, CLOUD)
    assert found.starts
    assert found.plan is not None
    assert {one.check for one in found.findings} >= {"model", "offers", "cloud", "name"}


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (ModelNotFound("No model 'x'.", hint="look"), "model"),
        (ModelGated("It is gated."), "model"),
        (SourceError("The hub is away."), "model"),
    ],
)
def test_a_model_that_cannot_be_read_is_refused_by_its_own_error(
    fakes: Fakes, error: AtcError, check: str
) -> None:
    fakes.models.raises = error
    found = look(fakes.world, CLOUD)
    (finding,) = (one for one in found.findings if one.grade is Grade.REFUSED)
    assert (finding.check, finding.says, finding.cure) == (check, error.message, error.hint)
    with pytest.raises(type(error)):
        serve(fakes)
    assert fakes.cloud.did() == []


def test_a_model_is_looked_at_once(fakes: Fakes) -> None:
    look(fakes.world, CLOUD)
    assert len(fakes.models.looked) == 1


def test_everything_that_is_wrong_is_told_together(fakes: Fakes) -> None:
    fakes.models.raises = ModelNotFound("No model.")
    fakes.catalog.raises = OfferError("No such region.")
    found = look(fakes.world, CLOUD)
    refused = {one.check: one.says for one in found.findings if one.grade is Grade.REFUSED}
    assert refused == {"model": "No model.", "offers": "No such region."}
    with pytest.raises(ModelNotFound) as raised:
        found.startable()
    assert raised.value.details[0] == "No such region."


def test_a_model_that_cannot_be_looked_at_is_told_of_once(fakes: Fakes) -> None:
    fakes.models.raises = SourceError("The hub is away.")
    found = look(fakes.world, replace(CLOUD, accelerators=()))
    (told,) = found.findings
    assert (told.check, told.grade) == ("model", Grade.REFUSED)
    assert "say which accelerator" in told.says
    assert "The hub is away." in told.says
    with pytest.raises(SourceError):
        found.startable()


def test_force_is_told_of_where_a_command_has_it(fakes: Fakes) -> None:
    fakes.here.ports_taken = {9000}
    taken = replace(HERE, port=9000)
    with pytest.raises(EngineError) as here:
        look(fakes.world, taken).startable()
    assert "--force starts it all the same." in here.value.details[-1]
    with pytest.raises(EngineError) as elsewhere:
        look(fakes.world, taken).startable(force=None)
    assert not any("--force" in line for line in elsewhere.value.details)


def test_a_cloud_that_cannot_be_used_is_refused(fakes: Fakes) -> None:
    fakes.cloud.no_clouds = CloudNotReady("aws is not enabled.", hint="sky check aws")
    with pytest.raises(CloudNotReady):
        serve(fakes)
    assert fakes.cloud.did() == []


def test_no_cloud_is_asked_about_what_cannot_start_anyway(fakes: Fakes) -> None:
    fakes.models.raises = ModelNotFound("No model.")
    fakes.cloud.no_clouds = CloudNotReady("aws is not enabled.")
    assert "cloud" not in {one.check for one in look(fakes.world, CLOUD).findings}


def test_what_is_refused_can_be_forced(fakes: Fakes) -> None:
    fakes.models.papers = Papers(tokenizer=False)
    with pytest.raises(AtcError, match="No tokenizer lies beside the weights"):
        serve(fakes)
    assert fakes.cloud.did() == []
    serve(fakes, force=True)
    assert len(fakes.cloud.launched) == 1
    assert any("No tokenizer" in note for note in fakes.report.notes)


def test_a_warning_is_told_and_stops_nothing(fakes: Fakes) -> None:
    fakes.models.papers = Papers(tokenizer=True, chat_template=False)
    serve(fakes)
    assert any("It has no chat template" in note for note in fakes.report.notes)


def test_without_asking_what_skypilot_said_last_counts(fakes: Fakes) -> None:
    fakes.cloud.no_clouds = CloudNotReady("aws is not enabled.")
    found = look(fakes.world, CLOUD, ask=False)
    assert found.starts
    assert "aws is not enabled." not in {one.says for one in found.findings}


def test_a_name_that_is_taken_elsewhere_is_refused(fakes: Fakes) -> None:
    serve(fakes)
    decided = fakes.cloud.launched[0][0]
    found = look(fakes.world, replace(HERE, name=decided.name), ask=False)
    (refused,) = (one for one in found.findings if one.grade is Grade.REFUSED)
    assert refused.says == f"{decided.name} is a deployment on {decided.place} already."


def test_a_name_that_is_taken_here_would_be_replaced(fakes: Fakes) -> None:
    serve(fakes)
    found = look(fakes.world, CLOUD, ask=False)
    (name,) = (one for one in found.findings if one.check == "name")
    assert name.grade is Grade.WARNING


def test_a_port_that_is_taken_is_refused(fakes: Fakes) -> None:
    fakes.here.ports_taken = {9000}
    found = look(fakes.world, replace(HERE, port=9000))
    with pytest.raises(EngineError, match="Port 9000 is taken"):
        found.startable()


def test_flags_that_contradict_each_other_are_no_finding(fakes: Fakes) -> None:
    with pytest.raises(UsageError):
        look(fakes.world, replace(HERE, spot=True))
    assert fakes.models.looked == []


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (
            ("--enable-lora", "--lora-modules", "french=/adapters/french", "x=org/two"),
            "--lora-modules",
        ),
        (("--chat-template", "/adapters/french"), "--chat-template"),
        (("--tokenizer", "/adapters/french"), "--tokenizer"),
    ],
)
def test_a_file_that_the_engines_own_options_name_must_be_here(
    fakes: Fakes, words: tuple[str, ...], flag: str
) -> None:
    request = replace(HERE, engine_args=words)
    found = look(fakes.world, request)
    (finding,) = (one for one in found.findings if one.check == "files")
    assert (finding.grade, finding.says) == (
        Grade.REFUSED,
        f"{flag} names /adapters/french, and there is no such file here.",
    )
    fakes.here.files.add("/adapters/french")
    assert look(fakes.world, request).starts
    cloud = look(fakes.world, replace(CLOUD, engine_args=words))
    assert "files" not in {one.check for one in cloud.findings}, "a machine of a cloud has files of its own"
