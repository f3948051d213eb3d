"""A model's shape, as far as memory is concerned: what each of its layers keeps of what it has read.

A layer keeps, for each token, keys and values (`Attention`), one vector that stands for both (`Latent`), or,
whatever the length, a state (`State`); an encoder's output is kept once for each request (`Cross`).
Sizes are numbers of values, not bytes: bytes follow from a dtype and from how many GPUs share the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Dtype(StrEnum):
    """What a value is stored as, in vLLM's words for `--dtype` and the KV cache."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FP8 = "fp8"

    @property
    def bytes(self) -> int:
        """Bytes of one value."""
        return {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2, Dtype.FLOAT16: 2, Dtype.FP8: 1}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Keys and values of every token: `heads` of them, of `key` and `value` values.

    With a `window`, only the last so many tokens are kept.
    """

    heads: int
    key: int
    value: int
    window: int | None = None

    def values(self, ranks: int = 1) -> int:
        """Values for one token on one rank; fewer heads than ranks are repeated, so that each has one."""
        return max(1, self.heads // ranks) * (self.key + self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention: one vector for each token, kept whole on every rank."""

    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a state-space or linear-attention layer keeps of a sequence, whatever its length.

    A convolution's last `steps` inputs, over `channels` and `groups` of `group` channels, and a recurrent
    state of `recurrent` values. `dtype` is the recurrent state's own where the model says one. `checkpoint`
    says whether a third copy is kept with prefix caching, beside the last state and the one before.
    """

    channels: int
    steps: int
    recurrent: int
    groups: int = 0
    group: int = 0
    dtype: Dtype | None = None
    checkpoint: bool = False

    def conv(self, ranks: int = 1) -> int:
        """Values of the convolution's part on one rank; groups that do not divide are repeated.

        Source: mamba2_state_shape in vLLM 0.32.0, model_executor/layers/mamba/mamba_utils.py.
        """
        extra = 0 if self.groups % ranks == 0 else ranks - self.groups
        return (self.channels + 2 * (self.groups + extra) * self.group) // ranks * self.steps

    def bytes(self, dtype: Dtype, ranks: int = 1) -> int:
        """Bytes of the whole state on one rank, of a model that computes in this dtype."""
        recurrent = self.dtype or dtype
        return self.conv(ranks) * dtype.bytes + self.recurrent // ranks * recurrent.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cross:
    """Keys and values of an encoder's output, `length` tokens at most, kept once for each request."""

    heads: int
    key: int
    value: int
    length: int

    def values(self, ranks: int = 1) -> int:
        """Values for one of the encoder's tokens on one rank."""
        return max(1, self.heads // ranks) * (self.key + self.value)


Cache = Attention | Latent | State | Cross


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of a model that is understood.

    `caches` are what its layers keep, in order; a layer that keeps nothing, or shares what another keeps, is
    not among them. `heads` are the query heads, `context` the most positions it was made for, `experts` all
    and `active` those that one token uses, `inner` a feed-forward layer's width. `quantization` is the method
    that config.json names, with `bits` for a weight; `kv` the KV cache's dtype where the checkpoint has one;
    `tied` says that the output uses the input's embedding, stored twice or not, and `half` that it bears
    float16.
    """

    name: str
    layers: int
    caches: tuple[Cache, ...]
    hidden: int
    heads: int
    vocabulary: int
    context: int | None
    dtype: Dtype | None = None
    experts: int = 0
    active: int = 0
    quantization: str | None = None
    bits: int | None = None
    kv: Dtype | None = None
    inner: int = 0
    tied: bool = False
    half: bool = True

    @property
    def window(self) -> int | None:
        """The windowed layers' window; the largest when there are several, None when there is none."""
        return max((c.window for c in self.caches if isinstance(c, Attention) and c.window), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A model whose shape is not understood, and why: no number is better than a wrong one."""

    name: str
    reason: str
