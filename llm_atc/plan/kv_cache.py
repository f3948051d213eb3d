"""vLLM's KV cache: how many bytes a token takes, and how vLLM 0.32.0 deals them out in blocks.

The rules are facts of v1/core/kv_cache_utils.py and v1/kv_cache_interface.py, and are held against the
real vLLM on a CPU by `tests/e2e/test_fit_matches_vllm.py`. In short: layers of one kind form one group, and a
block holds so many tokens of all of them; layers of several kinds are cut into groups of equally many layers,
which take blocks of one size from one pool. Where no test here can measure, `Platform` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from llm_atc.plan.architecture import Architecture, Attention, Cache, Cross, Dtype, Latent, State

# A model without a stated context is asked for no longer one than this.
LONGEST = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What differs between the places where vLLM runs. Blocks are numbers of tokens.

    `batch` is --max-num-batched-tokens, `batches` how many are under way at once; `state` is the dtype that
    recurrent states are kept in whatever the model computes in; `measured` says whether tests hold the rules
    against that very platform.
    """

    name: str
    block: int
    latent_block: int
    batch: int
    batches: int = 2
    state: Dtype | None = None
    measured: bool = False


# CacheConfig.DEFAULT_BLOCK_SIZE is 16; MLA's backends want 64 (FlashMLA). Two batches are under way with
# asynchronous scheduling, vLLM's default (max_concurrent_batches). Read from vLLM's source, not measured.
CUDA = Platform(name="CUDA", block=16, latent_block=64, batch=2048)
# platforms/cpu.py: blocks of 128; 16 for MLA where there is no AMX. With AVX512-BF16 states stay in float32.
# Scheduling is not asynchronous there.
CPU = Platform(
    name="CPU", block=128, latent_block=16, batch=2048, batches=1, state=Dtype.FLOAT32, measured=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one layer asks of a block: so many tokens, in so many bytes. `shape` tells unlike layers apart."""

    cache: Cache
    tokens: int
    bytes: int
    shape: tuple[int, ...] = ()

    @property
    def checkpoint(self) -> bool:
        """Whether prefix caching keeps a third copy of the layer's state."""
        return isinstance(self.cache, State) and self.cache.checkpoint

    @property
    def kind(self) -> tuple[str, int]:
        """Layers of one kind need the same blocks for the same text."""
        match self.cache:
            case Attention(window=window) if window:
                return "window", window
            case Attention() | Latent():
                return "full", 0
            case State():
                return "state", 0
            case Cross():
                return "cross", self.cache.length
            case _:
                assert_never(self.cache)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers that share a block table; all are like `page`."""

    page: Page
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One rank's KV cache. Every group takes blocks of `block_bytes` from one pool.

    With prefix caching, which hybrids have by default, a request takes two blocks or three of each group of
    states; in a model of states alone, one.
    """

    platform: Platform
    groups: tuple[Group, ...]
    block_bytes: int
    prefix_caching: bool = False

    def blocks(self, length: int) -> int:
        """Blocks that one request of that many tokens may need at the most."""
        return sum(self._blocks(group.page, length) for group in self.groups)

    def bytes(self, length: int, requests: int = 1) -> int:
        """Memory for that many such requests, and for the one block that vLLM never gives away."""
        return (self.blocks(length) * requests + 1) * self.block_bytes if self.groups else 0

    def concurrency(self, memory: int, length: int) -> int:
        """How many requests of that length fit at once; a large number when they need nothing."""
        if not self.groups:
            return LONGEST
        return max(0, memory // self.block_bytes - 1) // self.blocks(length)

    def capacity(self, memory: int, length: int) -> int:
        """The tokens that vLLM logs as its cache's size, for a --max-model-len of `length`."""
        return int(memory // self.block_bytes / self.blocks(length) * length) if self.groups else 0

    def longest(self, memory: int, most: int, requests: int = 1) -> int:
        """The longest request, up to `most` tokens, of which that many fit at once; 0 when none does."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.bytes(middle, requests) <= memory:
                low = middle
            else:
                high = middle - 1
        return low

    def _blocks(self, page: Page, length: int) -> int:
        kind, size = page.kind
        if kind == "state":
            return 2 + page.checkpoint if self.prefix_caching else 1
        if kind == "cross":
            return _ceil(max(size, self.platform.batch), page.tokens)
        if kind == "window":
            # What is scheduled and not yet settled is kept beside the window; one block more, for a window
            # may begin within one.
            kept = min(size - 1 + self.platform.batch * self.platform.batches, length)
            return _ceil(kept, page.tokens) + 1
        return _ceil(length, page.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerToken:
    """Bytes of the whole model, over all ranks once: for each token, and for each sequence.

    `all` is over every attention layer as if none had a window, `full` and `windowed` split it; `state` is
    what a sequence takes whatever its length, an encoder's output included.
    """

    full: int
    windowed: int
    state: int

    @property
    def all(self) -> int:
        """Both together."""
        return self.full + self.windowed


def per_token(model: Architecture, kv: Dtype, dtype: Dtype, platform: Platform = CUDA) -> PerToken:
    """What a token and a sequence take, without blocks and without repetition over ranks."""
    full = windowed = state = 0
    for cache in model.caches:
        match cache:
            case Attention(window=window):
                if window:
                    windowed += cache.values() * kv.bytes
                else:
                    full += cache.values() * kv.bytes
            case Latent():
                full += cache.width * kv.bytes
            case State():
                state += _state(cache, dtype, 1, platform)
            case Cross():
                state += cache.values() * cache.length * kv.bytes
            case _:
                assert_never(cache)
    return PerToken(full=full, windowed=windowed, state=state)


def pool(model: Architecture, kv: Dtype, dtype: Dtype, *, ranks: int = 1, platform: Platform = CUDA) -> Pool:
    """The pool of one of `ranks` tensor-parallel ranks."""
    block = _block(model.caches, kv, dtype, ranks, platform)
    pages = [_page(cache, block, kv, dtype, ranks, platform) for cache in model.caches]
    kinds = {page.kind for page in pages}
    if len(kinds) <= 1:
        # One kind: one group, whose blocks hold every layer's page, be they of different sizes.
        one: tuple[Group, ...] = (Group(page=pages[0], layers=len(pages)),) if pages else ()
        return Pool(platform=platform, groups=one, block_bytes=sum(page.bytes for page in pages))
    groups = _groups(_even(pages))
    size = max(group.layers * group.page.bytes for group in groups)
    return Pool(platform=platform, groups=groups, block_bytes=size, prefix_caching=True)


def _block(caches: Sequence[Cache], kv: Dtype, dtype: Dtype, ranks: int, platform: Platform) -> int:
    """Tokens in a block: in a hybrid as many as make an attention layer's page hold a state."""
    latent = any(isinstance(cache, Latent) for cache in caches)
    block = platform.latent_block if latent else platform.block
    tokens = [found for cache in caches if (found := _token(cache, kv, ranks))]
    states = [_state(cache, dtype, ranks, platform) for cache in caches if isinstance(cache, State)]
    if not tokens or not states:
        return block
    step = max(block, 128) if latent else block
    return max(block, step * _ceil(max(states), step * tokens[0]))


def _token(cache: Cache, kv: Dtype, ranks: int) -> int:
    """Bytes of one token in one layer on one rank; 0 for what is no self-attention."""
    if isinstance(cache, Attention):
        return cache.values(ranks) * kv.bytes
    return cache.width * kv.bytes if isinstance(cache, Latent) else 0


def _page(cache: Cache, block: int, kv: Dtype, dtype: Dtype, ranks: int, platform: Platform) -> Page:
    match cache:
        case State():
            return Page(cache=cache, tokens=block, bytes=_state(cache, dtype, ranks, platform))
        case Cross():
            return Page(cache=cache, tokens=block, bytes=cache.values(ranks) * kv.bytes * block)
        case Attention():
            shape = (max(1, cache.heads // ranks), cache.key, cache.value)
            return Page(cache=cache, tokens=block, bytes=_token(cache, kv, ranks) * block, shape=shape)
        case Latent():
            return Page(
                cache=cache, tokens=block, bytes=_token(cache, kv, ranks) * block, shape=(cache.width,)
            )
        case _:
            assert_never(cache)


def _state(cache: State, dtype: Dtype, ranks: int, platform: Platform) -> int:
    forced = platform.state if cache.dtype is None else cache.dtype
    return replace(cache, dtype=forced).bytes(dtype, ranks)


def _even(pages: Sequence[Page]) -> list[Page]:
    """Pages of one size: smaller ones hold more tokens where they divide the largest, or are padded."""
    most = max(page.bytes for page in pages)
    found = []
    for page in pages:
        more = most // page.bytes if most % page.bytes == 0 and not isinstance(page.cache, State) else 1
        found.append(replace(page, bytes=most, tokens=page.tokens * more))
    return found


def _groups(pages: Sequence[Page]) -> tuple[Group, ...]:
    """Groups of equally many layers: the fewest of any kind, or the most where the kinds are about even."""
    alike = Counter((page.kind, page.tokens, page.shape) for page in pages)
    first = {(page.kind, page.tokens, page.shape): page for page in reversed(pages)}
    fewest, most = min(alike.values()), max(alike.values())
    size = most if most < fewest * 1.5 else fewest
    found = []
    for key, count in alike.items():
        parts = _ceil(count, size)
        found += [Group(page=first[key], layers=_ceil(count - i, parts)) for i in range(parts)]
    return tuple(found)


def _ceil(value: int, step: int) -> int:
    return -(-value // step)
