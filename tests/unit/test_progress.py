"""The stages that logs tell of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_atc.plan.progress import MARK, ORDER, Stage, later, stage_of

stages = st.sampled_from(ORDER)


@pytest.mark.parametrize("stage", ORDER)
def test_a_tasks_own_mark_tells_its_stage(stage: Stage) -> None:
    assert stage_of(f"(demo, pid=123) {MARK}{stage}\n") is stage


def test_a_mark_with_an_unknown_stage_tells_nothing() -> None:
    assert stage_of(MARK + "Application startup complete") is None


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        (
            "(EngineCore pid=7) INFO 11-21 [gpu_model_runner.py:3] Starting to load model Qwen/Qwen3",
            Stage.WEIGHTS,
        ),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2", Stage.WEIGHTS),
        ("INFO 11-21 01:02:03 [default_loader.py:308] Loading weights took 1.20 seconds", Stage.ENGINE),
        ("INFO 11-21 01:02:03 [gpu_model_runner.py:40] Model loading took 1.2 GiB memory", Stage.ENGINE),
        ("INFO:     Application startup complete.", Stage.READY),
        ("srv    load_model: loading model '/models/tiny.gguf'", Stage.WEIGHTS),
        ("load_tensors: offloading 2 repeating layers to GPU", Stage.WEIGHTS),
        ("main: model loaded", Stage.ENGINE),
        ("common_init_from_params: warming up the model with an empty run", Stage.ENGINE),
        ("main: server is listening on http://127.0.0.1:8000 - starting the main loop", Stage.READY),
        ("srv  update_slots: all slots are idle", Stage.READY),
        ("INFO 11-21 01:02:03 [api_server.py:1] vLLM API server version 0.32.0", None),
        ("", None),
    ],
)
def test_the_engines_own_lines_tell_their_stage(line: str, stage: Stage | None) -> None:
    assert stage_of(line) is stage


def test_the_stages_stand_in_the_order_in_which_they_happen() -> None:
    assert [str(stage) for stage in ORDER] == ["provision", "set up", "weights", "engine start", "ready"]


@given(stages, stages | st.none())
def test_progress_never_goes_back(a: Stage, b: Stage | None) -> None:
    best = later(a, b)
    assert best in (a, b)
    assert ORDER.index(best) >= ORDER.index(a)
    assert b is None or ORDER.index(best) >= ORDER.index(b)
