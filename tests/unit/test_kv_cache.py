"""How blocks are dealt out: numbers counted by hand, and what is true of every shape."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as some

from llm_atc.plan.architecture import Architecture, Attention, Cache, Cross, Dtype, Latent, State
from llm_atc.plan.kv_cache import CPU, CUDA, LONGEST, PerToken, per_token, pool

HALF = Dtype.FLOAT16
GIB = 1024**3


def model(*caches: Cache) -> Architecture:
    return Architecture(
        name="A", layers=len(caches), caches=caches, hidden=512, heads=8, vocabulary=1000, context=None
    )


def full(heads: int = 8, size: int = 128) -> Attention:
    return Attention(heads=heads, key=size, value=size)


def window(size: int, heads: int = 8) -> Attention:
    return Attention(heads=heads, key=128, value=128, window=size)


def test_a_block_holds_sixteen_tokens_of_every_layer() -> None:
    found = pool(model(*[full()] * 32), HALF, HALF)
    assert found.block_bytes == 131072 * 16
    assert (found.blocks(1), found.blocks(16), found.blocks(17)) == (1, 1, 2)
    # One block is never given away.
    assert found.bytes(17, requests=3) == (2 * 3 + 1) * 131072 * 16
    assert found.longest(100 * found.block_bytes, most=10_000) == 99 * 16
    assert found.concurrency(100 * found.block_bytes, 32) == 49


def test_fewer_heads_than_ranks_are_repeated() -> None:
    shape = model(*[full(heads=2)] * 4)
    assert [pool(shape, HALF, HALF, ranks=n).block_bytes // 16 for n in (1, 2, 4)] == [4096, 2048, 2048]
    latent = model(*[Latent(width=576)] * 4)
    assert {pool(latent, HALF, HALF, ranks=n).block_bytes for n in (1, 8)} == {576 * 2 * 4 * 64}


def test_windows_take_blocks_up_to_the_window_and_what_is_under_way() -> None:
    found = pool(model(*[window(512)] * 5, full()), HALF, HALF)
    assert len(found.groups) == 6
    assert found.block_bytes == 8 * 256 * 2 * 16
    # 511 tokens of the window and two batches of 2048 are 288 blocks, and one more, in each of five groups.
    assert found.blocks(131072) == 131072 // 16 + 5 * (288 + 1)


def test_kinds_that_are_about_even_are_padded_to_groups_of_the_larger() -> None:
    found = pool(model(*[window(512)] * 12, *[full()] * 13), HALF, HALF)
    assert [group.layers for group in found.groups] == [12, 13]
    assert found.block_bytes == 13 * 8 * 256 * 2 * 16


def test_a_hybrids_blocks_are_as_long_as_a_state_is_large() -> None:
    # Qwen3-Next on one GPU: a token takes 2 x 2 x 256 x 2 bytes, a state 1,097,728: 544 tokens hold it.
    state = State(channels=8192, steps=3, recurrent=524288)
    found = pool(model(*[state] * 36, *[full(heads=2, size=256)] * 12), HALF, HALF)
    assert {group.page.tokens for group in found.groups} == {544}
    assert [group.layers for group in found.groups] == [12, 12, 12, 12]
    assert found.blocks(544 * 3) == 3 + 3 * 2
    assert per_token(model(state), HALF, HALF).state == (8192 * 3 + 524288) * 2


def test_states_alone_are_one_block_for_each_request_and_float32_on_a_cpu() -> None:
    shape = model(*[State(channels=256, steps=3, groups=1, group=16, recurrent=4096)] * 3)
    assert pool(shape, HALF, HALF, platform=CPU).block_bytes == 3 * (288 * 3 * 2 + 4096 * 4)
    found = pool(shape, HALF, HALF)
    assert found.blocks(1) == found.blocks(100_000) == 1


def test_an_encoder_keeps_nothing() -> None:
    found = pool(model(), HALF, HALF)
    assert (found.bytes(512, requests=9), found.capacity(GIB, 512), found.concurrency(GIB, 512)) == (
        0,
        0,
        LONGEST,
    )
    assert per_token(model(), HALF, HALF) == PerToken(full=0, windowed=0, state=0)


def test_fp8_halves_what_tokens_take_and_not_what_states_take() -> None:
    shape = model(full(), State(channels=16, steps=3, recurrent=64))
    half, eight = (per_token(shape, kv, HALF) for kv in (HALF, Dtype.FP8))
    assert (eight.all * 2, eight.state) == (half.all, half.state)


HEADS = some.sampled_from([1, 2, 4, 8])
ATTENTION = some.builds(
    Attention,
    heads=HEADS,
    key=some.sampled_from([64, 128]),
    value=some.sampled_from([64, 128]),
    window=some.none() | some.sampled_from([64, 512, 4096]),
)
STATE = some.builds(
    State,
    channels=some.sampled_from([64, 256]),
    steps=some.integers(1, 3),
    recurrent=some.sampled_from([0, 4096]),
)
CROSS = some.builds(Cross, heads=HEADS, key=some.just(64), value=some.just(64), length=some.integers(1, 1500))
LATENT = some.builds(Latent, width=some.sampled_from([288, 576]))
CACHES = some.lists(ATTENTION | STATE | CROSS, max_size=12) | some.lists(LATENT, max_size=8)


@given(CACHES, CACHES)
def test_bytes_for_a_token_are_the_sum_over_layers(some_layers: list[Cache], others: list[Cache]) -> None:
    one, two, both = (per_token(model(*c), HALF, HALF) for c in (some_layers, others, some_layers + others))
    assert (both.full, both.windowed, both.state) == (
        one.full + two.full,
        one.windowed + two.windowed,
        one.state + two.state,
    )


@given(CACHES, some.integers(1, 20_000), some.integers(1, 20_000), some.integers(0, GIB))
def test_a_longer_context_never_lets_more_requests_in(
    caches: list[Cache], length: int, more: int, memory: int
) -> None:
    found = pool(model(*caches), HALF, HALF)
    assert found.concurrency(memory, length + more) <= found.concurrency(memory, length)
    assert found.bytes(length + more) >= found.bytes(length)


@given(CACHES, some.integers(0, GIB), some.integers(0, GIB), some.integers(1, 5))
def test_more_memory_never_shortens_the_context(
    caches: list[Cache], memory: int, more: int, requests: int
) -> None:
    found = pool(model(*caches), HALF, HALF)
    longest = found.longest(memory, 4096, requests)
    assert longest <= found.longest(memory + more, 4096, requests)
    assert longest == 0 or found.bytes(longest, requests) <= memory
    assert longest == 4096 or found.bytes(longest + 1, requests) > memory


@given(CACHES, some.sampled_from([(1, 2), (2, 4), (1, 8)]))
def test_more_ranks_never_take_more_on_each(caches: list[Cache], ranks: tuple[int, int]) -> None:
    # Of one kind: with several, ranks can make unlike layers alike, and so the groups larger and fewer.
    plain = [cache for cache in caches if isinstance(cache, Attention) and cache.window is None]
    few, many = (pool(model(*plain), HALF, HALF, ranks=n, platform=replace(CUDA)) for n in ranks)
    assert many.block_bytes <= few.block_bytes
