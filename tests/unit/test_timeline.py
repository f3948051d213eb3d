"""How long launches took: kept, compared with their like, and told before the next."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc import launcher
from llm_atc.cli.progress import told
from llm_atc.cli.timeline import facts
from llm_atc.errors import EngineFailed
from llm_atc.plan.progress import Stage
from llm_atc.plan.timeline import Launch, Span, spans_of, usual
from llm_atc.recording import Recorder
from tests.fakes import FakeClock, FakeReporter, Fakes, ended
from tests.unit.serving import serve

WEIGHTS, ENGINE = Stage.WEIGHTS, Stage.ENGINE


def launch(*seconds: float, ready: bool = True) -> Launch:
    spans = tuple(
        Span(stage=stage, seconds=took) for stage, took in zip((WEIGHTS, ENGINE), seconds, strict=False)
    )
    return Launch(name="demo", likeness="like", begun=0, spans=spans, ready=ready)


def test_a_stage_lasts_until_the_next_begins() -> None:
    marks = [(WEIGHTS, 10.0), (ENGINE, 15.0), (Stage.READY, 18.0)]
    assert spans_of(marks, 99) == (Span(stage=WEIGHTS, seconds=5), Span(stage=ENGINE, seconds=3))


def test_the_stage_in_which_a_launch_failed_lasts_until_the_failure() -> None:
    assert spans_of([(WEIGHTS, 10.0)], 12) == (Span(stage=WEIGHTS, seconds=2),)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
def test_spans_cover_the_whole_launch(steps: list[float]) -> None:
    moments = [sum(steps[: index + 1]) for index in range(len(steps))]
    marks = list(zip([stage for stage in Stage if stage is not Stage.READY], moments, strict=False))
    spans = spans_of(marks, moments[-1] + 1)
    assert sum(span.seconds for span in spans) == pytest.approx(moments[-1] + 1 - moments[0])


def test_the_median_of_each_stage_is_usual() -> None:
    assert usual([launch(1, 10), launch(3, 20), launch(100, 30)]) == {WEIGHTS: 3, ENGINE: 20}


def test_launches_that_failed_tell_nothing_of_the_next() -> None:
    assert usual([launch(1, 10), launch(500, ready=False)]) == {WEIGHTS: 1, ENGINE: 10}
    assert usual([]) == {}


def test_a_recorder_keeps_when_a_stage_was_told_of_first() -> None:
    clock, report = FakeClock(now=5), FakeReporter()
    recorder = Recorder(report, clock)
    for stage in (WEIGHTS, WEIGHTS, ENGINE, WEIGHTS, Stage.READY):
        recorder.stage(stage)
        clock.sleep(1)
    assert recorder.marks == [(WEIGHTS, 5), (ENGINE, 7), (Stage.READY, 9)]
    assert report.stages == [WEIGHTS, WEIGHTS, ENGINE, WEIGHTS, Stage.READY]


def test_a_launch_that_answered_is_the_estimate_of_the_next_like_it(fakes: Fakes) -> None:
    serve(fakes)
    kept = fakes.store.launches()
    assert [one.ready for one in kept] == [True]
    assert fakes.report.expected == {}
    launcher.down(fakes.world, "demo", fakes.report)
    serve(fakes)
    assert fakes.report.expected == {span.stage: span.seconds for span in kept[0].spans}
    assert len(fakes.store.launches()) == 2


def test_a_start_is_not_compared_with_a_first_launch(fakes: Fakes) -> None:
    serve(fakes)
    launcher.restart(fakes.world, "demo", fakes.report)
    first, second = fakes.store.launches()
    assert first.likeness != second.likeness


def test_a_launch_that_failed_is_kept_as_that(fakes: Fakes) -> None:
    fakes.cloud.becomes = ended()
    with pytest.raises(EngineFailed):
        serve(fakes)
    assert [one.ready for one in fakes.store.launches()] == [False]


def test_a_launch_that_nobody_waited_for_is_not_kept(fakes: Fakes) -> None:
    serve(fakes, until=launcher.Until.SUBMITTED)
    assert fakes.store.launches() == ()


def test_as_json_every_stage_has_its_seconds_and_what_is_usual() -> None:
    made = facts(launch(1.25, 10), {WEIGHTS: 2.0}, 3)
    assert json.loads(json.dumps(made))["stages"] == [
        {"stage": "weights", "seconds": 1.25, "usual": 2.0},
        {"stage": "engine start", "seconds": 10, "usual": None},
    ]
    assert made["seconds"] == 11.25


@pytest.mark.parametrize(("seconds", "text"), [(40.2, "40 s"), (60, "1 min 0 s"), (125.4, "2 min 5 s")])
def test_durations_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert told(seconds) == text
