"""How an engine is set on each accelerator, and the machines that are picked for a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llm_atc.errors import OfferError
from llm_atc.plan.accelerators import CHIPS, Accelerator
from llm_atc.plan.architecture import Dtype
from llm_atc.plan.engine import EngineName
from llm_atc.plan.fit import Wish, judge
from llm_atc.plan.offers import Terms, allowed
from llm_atc.plan.picking import Picked, pick
from llm_atc.plan.price import BANDWIDTH, REACHED, daily, per_million, speed, told
from llm_atc.plan.tuning import Tuned, together, tune, wish_of
from tests.unit.markets import OFFERS
from tests.unit.test_fit import LLAMA_7B, LLAMA_13B, LLAMA_70B, NAMES, model, weights

VLLM = EngineName.VLLM


def tuned(name: str, on: str, **wish: Any) -> Tuned | None:
    return tune(model(name), weights(name), VLLM, Accelerator.parse(on), Wish(**wish))


def arguments(name: str, on: str, **wish: Any) -> tuple[str, ...] | None:
    found = tuned(name, on, **wish)
    return found.arguments if found else None


def picked(name: str, terms: Terms, **wish: Any) -> Picked:
    return pick(
        name,
        VLLM,
        OFFERS,
        terms,
        lambda one: tune(model(name), weights(name), VLLM, one, Wish(**wish)),
    )


def test_parallelism_dtype_and_context_are_set_where_they_are_needed() -> None:
    assert arguments(LLAMA_13B, "A100:1") == ()
    assert arguments(LLAMA_70B, "A100-80GB:2") == ("--tensor-parallel-size", "2")
    assert arguments(LLAMA_7B, "T4:2") == ("--tensor-parallel-size", "2", "--dtype", "float16")
    v100 = ("--dtype", "half", "--attention-backend", "TRITON_ATTN", "--enforce-eager")
    assert arguments(LLAMA_7B, "V100:2") == ("--tensor-parallel-size", "2", *v100)
    short = arguments("meta-llama/Llama-3.1-8B-Instruct", "L4:1")
    assert short is not None
    assert short[0] == "--max-model-len"
    assert 4096 < int(short[1]) < 131072


def test_a_context_too_short_to_be_of_use_is_not_chosen_unless_it_is_asked_for() -> None:
    assert tuned(LLAMA_7B, "V100:1") is None  # 1.5 thousand tokens of 4096
    found = arguments(LLAMA_7B, "V100:1", max_model_len=1024)
    assert found is not None
    assert "--max-model-len" not in found  # the user's own words say it


def test_heads_that_all_gpus_cannot_share_are_put_on_fewer() -> None:
    # Said, since the task would take both where nothing is.
    assert arguments("tiiuae/falcon-7b-instruct", "A100:2") == ("--tensor-parallel-size", "1")
    assert tuned("tiiuae/falcon-7b-instruct", "A100:2", ranks=2) is None


def test_what_nobody_knows_the_memory_of_is_not_chosen() -> None:
    assert tuned(LLAMA_7B, "MI300X:8") is None


def test_the_users_own_words_are_the_wish() -> None:
    options: dict[str, Any] = {
        "max_model_len": 8192,
        "dtype": "half",
        "kv_cache_dtype": "fp8_e4m3",
        "tensor_parallel_size": 4,
    }
    wanted = Wish(max_model_len=8192, concurrency=3, dtype=Dtype.FLOAT16, kv=Dtype.FP8, ranks=4)
    assert wish_of(options, 3) == wanted
    assert wish_of({"max_model_len": -1, "dtype": "auto", "kv_cache_dtype": "auto"}, 1) == Wish()
    assert wish_of({"ctx_size": 2048}, 1) == Wish(max_model_len=2048)


def test_the_cheapest_on_which_a_model_fits_comes_first() -> None:
    found = picked(LLAMA_7B, Terms())
    assert [str(one) for one in found.choices] == [
        "L4:1 on gcp/us-central1 (g2-standard-4) for $0.71 an hour",
        "L4:1 on aws/us-east-1 (g6.xlarge) for $0.80 an hour",
        "L4:2 on gcp/us-central1 (g2-standard-24) for $2.00 an hour",
        "A100:1 on gcp/us-central1 (a2-highgpu-1g) for $3.67 an hour",
        "A100-80GB:2 on gcp/us-central1 (a2-ultragpu-2g) for $10.06 an hour",
    ]
    assert [str(one) for one in found.accelerators] == ["L4:1", "L4:2", "A100:1", "A100-80GB:2"]
    assert [one.arguments for one in found.tuned] == [
        (),
        ("--tensor-parallel-size", "2"),
        (),
        ("--tensor-parallel-size", "2"),
    ]
    assert found.notes == (
        "The cheapest on which it fits: L4:1 on gcp/us-central1 (g2-standard-4) for $0.71 an hour. "
        "Where that cannot be had, 4 more are tried, such as "
        "L4:2 on gcp/us-central1 (g2-standard-24) for $2.00 an hour.",
    )


def test_more_context_and_more_requests_choose_a_larger_machine() -> None:
    assert str(picked(LLAMA_7B, Terms(), concurrency=16).accelerators[0]) == "A100-80GB:2"
    assert str(picked(LLAMA_7B, Terms(), max_model_len=1024).accelerators[0]) == "L4:1"
    with pytest.raises(OfferError, match="fits on nothing that any cloud sells"):
        picked(LLAMA_7B, Terms(), max_model_len=5000)


def test_engines_of_two_versions_are_not_mixed() -> None:
    assert together(Accelerator(name="T4"), Accelerator(name="H100"))
    assert not together(Accelerator(name="V100"), Accelerator(name="H100"))
    names = [one.name for one in picked(LLAMA_7B, Terms(), max_model_len=1024).accelerators]
    assert "V100" not in names


@given(NAMES, some.integers(1, 8), some.none() | some.integers(1, 40000))
def test_whatever_is_asked_for_the_choice_is_the_cheapest_that_fits(
    name: str, many: int, length: int | None
) -> None:
    wish = Wish(max_model_len=length, concurrency=many)
    shape = model(name)
    least = length or min(shape.context or 4096, 4096)

    def fits(accelerator: Accelerator) -> bool:
        for ranks in range(1, accelerator.count + 1):
            found = judge(
                shape,
                weights(name),
                accelerator,
                Wish(max_model_len=length, concurrency=many, ranks=ranks),
            )
            if accelerator.count % ranks == 0 and found.fits and found.max_model_len >= least:
                return True
        return False

    prices = [one.hourly for one in allowed(OFFERS, Terms()) if fits(one.offer.accelerator)]
    try:
        found = pick(name, VLLM, OFFERS, Terms(), lambda one: tune(shape, weights(name), VLLM, one, wish))
    except OfferError:
        assert prices == []
        return
    assert found.choices[0].hourly == min(prices)


@given(NAMES, some.sampled_from(OFFERS), some.integers(1, 20000), some.integers(1, 20000))
def test_a_longer_context_never_makes_a_machine_possible(name: str, on: Any, length: int, more: int) -> None:
    short, long = (
        tune(model(name), weights(name), VLLM, on.accelerator, Wish(max_model_len=tokens))
        for tokens in (length, length + more)
    )
    assert (short is not None) or (long is None)


@given(NAMES, some.sampled_from(["L4", "A100", "A100-80GB", "H100"]), some.sampled_from([1, 2, 4]))
def test_more_gpus_of_a_kind_never_make_a_model_stop_fitting(name: str, chip: str, count: int) -> None:
    few, more = (
        tune(model(name), weights(name), VLLM, Accelerator(name=chip, count=n), Wish(max_model_len=1024))
        for n in (count, 2 * count)
    )
    assert (few is None) or (more is not None)


@given(NAMES, some.integers(1, 8000))
def test_more_memory_never_makes_a_model_stop_fitting(name: str, length: int) -> None:
    wish = Wish(max_model_len=length)
    small, large = (
        tune(model(name), weights(name), VLLM, Accelerator(name=chip), wish) for chip in ("A100", "A100-80GB")
    )
    assert (small is None) or (large is not None)


def test_a_million_tokens_cost_what_reading_memory_takes() -> None:
    found = tuned(LLAMA_7B, "A100:1")
    assert found is not None
    told_speed = speed(found.verdict, 1)
    assert told_speed is not None
    # 12.55 GiB of weights, and 10 requests of 4096 tokens, half way through, at 0.5 MiB a token.
    requests = found.verdict.concurrency
    read = weights(LLAMA_7B).bytes + requests * 2048 * 524288
    assert told_speed.requests == requests == 10
    assert told_speed.tokens == pytest.approx(requests / (read / (1555e9 * REACHED)), rel=0.01)
    assert per_million(3.6, told_speed) == pytest.approx(3.6 / (told_speed.tokens * 3600) * 1e6)


def test_what_does_not_fit_has_no_speed() -> None:
    shape, size = model(LLAMA_70B), weights(LLAMA_70B)
    assert speed(judge(shape, size, Accelerator(name="L4"), Wish()), 1) is None


def test_every_chip_has_its_bandwidth() -> None:
    assert BANDWIDTH.keys() == CHIPS.keys()


def test_an_hour_is_told_with_the_day_that_it_makes() -> None:
    assert daily(0.526) == pytest.approx(12.624)
    assert told(0.526) == "$0.53 an hour ($12.62 a day)"
