"""What fits where: the published cases, capabilities, advice, and what is true of every wish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llm_atc.errors import OfferError
from llm_atc.plan.accelerators import CHIPS, Accelerator
from llm_atc.plan.architecture import Architecture, Dtype, Unknown
from llm_atc.plan.capability import computes_in, refusal, remark
from llm_atc.plan.fit import Verdict, Wish, judge
from llm_atc.plan.fit_report import report
from llm_atc.plan.keys import BY_NAME
from llm_atc.plan.model_config import read_architecture
from llm_atc.plan.overhead import GIB, batch
from llm_atc.plan.weights import Weights

FACTS = {
    facts["model"]: facts for facts in json.loads(Path(__file__).with_name("model_facts.json").read_text())
}
LLAMA_7B, LLAMA_13B, LLAMA_70B = (f"meta-llama/Llama-2-{size}b-chat-hf" for size in (7, 13, 70))


def model(name: str, **changed: Any) -> Architecture:
    found = read_architecture(FACTS[name]["config"] | changed)
    assert isinstance(found, Architecture)
    return found


def weights(name: str) -> Weights:
    count = FACTS[name]["parameters"]
    return Weights(bytes=2 * count, parameters=count)


def verdict(name: str, on: str, **wish: Any) -> Verdict:
    return judge(model(name), weights(name), Accelerator.parse(on), Wish(**wish))


def test_llama_2_7b_fits_on_a_v100_with_half_its_context() -> None:
    found = verdict(LLAMA_7B, "V100:1")
    assert found.fits
    assert 1500 < found.max_model_len < 4096
    assert f"--max-model-len {found.max_model_len}" in found.reason
    assert any("0.19.1" in note for note in found.notes)


def test_llama_2_70b_wants_two_large_a100() -> None:
    alone = verdict(LLAMA_70B, "A100-80GB:1")
    assert not alone.fits
    assert "weights (128.5 GiB)" in alone.reason
    assert "more GPUs: --accelerator A100-80GB:2" in alone.options
    two = verdict(LLAMA_70B, "A100-80GB:2")
    assert (two.fits, two.max_model_len) == (True, 4096)


def test_llama_2_13b_fits_on_an_a100() -> None:
    found = verdict(LLAMA_13B, "A100:1")
    assert (found.fits, found.max_model_len) == (True, 4096)
    # 10 GiB are left, and a request of 4096 tokens takes 3.1.
    assert found.concurrency == 3


def test_vllm_gets_the_share_of_memory_that_it_is_told_by_serve() -> None:
    told = verdict(LLAMA_13B, "A100:1")
    assert told.split == verdict(LLAMA_13B, "A100:1", share=BY_NAME["inference.gpu_memory"].default).split
    assert told.split != verdict(LLAMA_13B, "A100:1", share=0.92).split


def test_advice_is_what_would_help_and_helps() -> None:
    wish = {"max_model_len": 4096, "concurrency": 5}
    found = verdict(LLAMA_7B, "L4:1", **wish)
    assert not found.fits
    assert any("--kv-cache-dtype fp8" in option for option in found.options)
    assert verdict(LLAMA_7B, "L4:1", kv=Dtype.FP8, **wish).fits
    shorter = verdict(LLAMA_7B, "V100:1", max_model_len=4096)
    assert not shorter.fits
    assert f"a shorter context: --max-model-len {shorter.max_model_len}" in shorter.options
    assert verdict(LLAMA_7B, "V100:1", max_model_len=shorter.max_model_len).fits


def test_a_context_beyond_the_models_own_is_refused() -> None:
    found = verdict(LLAMA_7B, "H100:1", max_model_len=5000)
    assert not found.fits
    assert found.reason == "the model was made for 4096 tokens, and 5000 are asked for"


def test_gpus_that_the_heads_do_not_divide_over_are_refused() -> None:
    found = verdict("tiiuae/falcon-7b-instruct", "A100:2")
    assert (found.fits, found.max_model_len) == (False, 0)
    assert found.reason == "71 attention heads cannot be shared by 2 GPUs evenly"
    one = verdict("tiiuae/falcon-7b-instruct", "A100:2", ranks=1)
    assert one.fits
    assert "1 of its GPUs stay idle" in one.notes
    assert "needs 4 GPUs" in verdict(LLAMA_7B, "A100:2", ranks=4).reason


def test_the_bar_is_as_long_as_the_gpus_memory() -> None:
    split = verdict(LLAMA_13B, "A100:1").split
    assert split is not None
    assert split.total == int(39.38 * GIB)
    assert split.weights == weights(LLAMA_13B).bytes


def test_chips_and_dtypes() -> None:
    llama, gemma = model("meta-llama/Llama-3.1-8B-Instruct"), model("google/gemma-2-9b-it")
    t4, l4, h100 = CHIPS["T4"], CHIPS["L4"], CHIPS["H100"]
    assert computes_in(llama, h100, None) is Dtype.BFLOAT16
    assert computes_in(llama, t4, None) is Dtype.FLOAT16
    assert computes_in(gemma, t4, None) is Dtype.FLOAT32
    assert "needs Ampere" in (refusal(llama, t4, Dtype.BFLOAT16, Dtype.BFLOAT16) or "")
    assert "does not bear float16" in (refusal(gemma, l4, Dtype.FLOAT16, Dtype.FLOAT16) or "")
    v100 = CHIPS["V100"]
    assert refusal(llama, v100, Dtype.FLOAT16, Dtype.FP8) == "an FP8 KV cache needs 7.5, and V100 has 7.0"
    assert "FlashInfer" in (remark(llama, t4, Dtype.FP8) or "")
    assert refusal(llama, l4, Dtype.BFLOAT16, Dtype.FP8) is None


def test_chips_and_quantizations() -> None:
    eight = model(LLAMA_7B, quantization_config={"quant_method": "fp8"})
    assert refusal(eight, CHIPS["V100"], Dtype.FLOAT16, Dtype.FLOAT16) == "fp8 needs 7.5, and V100 has 7.0"
    assert "Marlin" in (remark(eight, CHIPS["A100"], Dtype.BFLOAT16) or "")
    assert remark(eight, CHIPS["H100"], Dtype.BFLOAT16) is None
    four = model(LLAMA_7B, quantization_config={"quant_method": "mxfp4"})
    assert "Marlin" in (remark(four, CHIPS["H100"], Dtype.BFLOAT16) or "")


def test_a_chip_without_any_vllm_is_refused() -> None:
    assert verdict(LLAMA_7B, "K80:8").reason == "no vLLM that llm-atc pins has code for K80"
    with pytest.raises(OfferError, match="Did you mean"):
        verdict(LLAMA_7B, "A1000:1")


def test_no_chip_gives_more_than_its_data_sheet_says() -> None:
    for chip in CHIPS.values():
        assert 0.9 * chip.memory <= chip.usable <= chip.memory
    assert CHIPS["T4"].reported
    assert not CHIPS["B300"].reported
    assert [batch(CHIPS[name]).tokens for name in ("L4", "A100-80GB", "H100", "B200")] == [
        2048,
        2048,
        8192,
        16384,
    ]


def test_json_has_the_shape_that_is_promised() -> None:
    facts = report(
        "gemma",
        model("google/gemma-3-1b-it"),
        weights("google/gemma-3-1b-it"),
        [Accelerator(name="L4", count=1)],
        Wish(),
    ).facts()
    assert facts["weights"] == {"bytes": 1999771904, "parameters": 999885952}
    assert facts["kv_cache"] == {
        "bytes_per_token": 26624,
        "bytes_per_token_full": 4096,
        "bytes_per_token_windowed": 22528,
        "window": 512,
        "state_bytes_per_sequence": 0,
    }
    (found,) = facts["verdicts"]
    assert list(found) == [
        *("accelerator", "count", "fits", "max_model_len", "concurrency", "reason"),
        *("hourly", "daily", "dollars_per_million_tokens"),
    ]
    assert found["hourly"] is None
    assert (found["accelerator"], found["count"], found["fits"]) == ("L4", 1, True)


def test_an_unknown_shape_has_no_verdict_but_where_the_weights_alone_are_too_much() -> None:
    found = report(
        "new",
        Unknown(name="New", reason="model_type 'new' is not one"),
        weights(LLAMA_13B),
        [Accelerator(name="T4"), Accelerator(name="H100")],
        Wish(),
    ).facts()
    assert [one["fits"] for one in found["verdicts"]] == [False, None]
    assert found["kv_cache"]["bytes_per_token"] is None
    assert found["verdicts"][1]["reason"] == "unknown: model_type 'new' is not one"


NAMES = some.sampled_from(sorted(FACTS))
CHIP = some.sampled_from(["V100", "T4", "L4", "A100", "A100-80GB", "H100", "B200"])


@given(NAMES, CHIP, some.sampled_from([1, 2, 4]), some.integers(1, 64))
def test_twice_the_gpus_never_stop_a_large_model_from_fitting(
    name: str, chip: str, count: int, many: int
) -> None:
    few, more = (verdict(name, f"{chip}:{n}", concurrency=many) for n in (count, 2 * count))
    if weights(name).bytes >= 4 * GIB * 2 * count and "cannot be shared" not in more.reason:
        assert more.fits >= few.fits


@given(NAMES, CHIP, some.integers(1, 8000), some.integers(1, 8000), some.integers(1, 16))
def test_a_longer_context_or_more_requests_never_start_to_fit(
    name: str, chip: str, length: int, more: int, many: int
) -> None:
    short = verdict(name, f"{chip}:1", max_model_len=length, concurrency=many)
    assert short.fits >= verdict(name, f"{chip}:1", max_model_len=length + more, concurrency=many).fits
    assert short.fits >= verdict(name, f"{chip}:1", max_model_len=length, concurrency=many + 1).fits
    assert short.fits <= (short.concurrency >= many)
