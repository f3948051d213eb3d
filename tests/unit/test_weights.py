"""Headers of weight files, what they add up to, and how it is shared."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path

import numpy
import pytest
from gguf import GGUFWriter
from hypothesis import given
from hypothesis import strategies as some
from safetensors.numpy import save_file

from llm_atc.plan.architecture import Architecture, Attention, Dtype, Latent, State
from llm_atc.plan.gguf import CutShort, read_gguf_header
from llm_atc.plan.gguf_config import offload, read_gguf_architecture
from llm_atc.plan.tensors import BadHeader, Tensor, header_of, read_safetensors, safetensors_length
from llm_atc.plan.weights import Weights, cannot_share, loaded, of_sizes, of_tensors, parameters, repeated

ARCHITECTURE = Architecture(
    name="A",
    layers=2,
    caches=(Attention(heads=2, key=64, value=64),) * 2,
    hidden=512,
    heads=8,
    vocabulary=1000,
    context=4096,
)


def header(entries: dict[str, object]) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def tensor(name: str, dtype: str = "BF16", shape: tuple[int, ...] = (512, 512)) -> Tensor:
    width = {"BF16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1}[dtype]
    size = width
    for one in shape:
        size *= one
    return Tensor(name=name, dtype=dtype, shape=shape, bytes=size)


def test_a_real_file_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    values = {"a": numpy.zeros((3, 5), numpy.float32), "b": numpy.zeros(7, numpy.float16)}
    save_file(values, path, metadata={"format": "pt"})
    asked: list[int] = []

    def head(length: int) -> bytes:
        asked.append(length)
        return path.read_bytes()[:length]

    found = {one.name: one for one in read_safetensors(header_of(head, guess=16))}
    assert found["a"] == Tensor(name="a", dtype="F32", shape=(3, 5), bytes=60)
    assert found["b"].bytes == 14
    assert len(asked) == 2
    weights = of_tensors(found.values())
    assert (weights.bytes, weights.parameters, weights.exact) == (74, 22, True)
    assert [(one.dtype, one.parameters) for one in weights.stored] == [("F16", 7), ("F32", 15)]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "first eight bytes"),
        (struct.pack("<Q", 1 << 62), "bytes long"),
        (struct.pack("<Q", 10) + b"{", "cut short"),
        (struct.pack("<Q", 4) + b"nope", "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "no JSON object"),
        (header({"a": {"dtype": "F32", "shape": [2]}}), "nothing clear of 'a'"),
        (header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}), "4 bytes for 2 values"),
        (header({"a": 7}), "nothing clear of 'a'"),
    ],
)
def test_a_damaged_header_is_said_to_be_one(head: bytes, why: str) -> None:
    with pytest.raises(BadHeader, match=why):
        read_safetensors(head)


@given(some.binary(max_size=200))
def test_no_bytes_are_more_than_a_bad_header(data: bytes) -> None:
    for read in (read_safetensors, read_gguf_header, safetensors_length):
        with suppress(BadHeader):
            read(data)


def test_packed_weights_count_each_parameter_and_scales_count_none() -> None:
    assert parameters(tensor("q.qweight", "I32", (64, 8)), bits=4) == 64 * 8 * 8
    assert parameters(tensor("q.weight_packed", "I32", (64, 8)), bits=8) == 64 * 8 * 4
    assert parameters(tensor("experts.gate_up_proj_blocks", "U8", (4, 16))) == 128
    assert parameters(tensor("experts.gate_up_proj_scales", "U8", (4, 1))) == 0
    assert parameters(tensor("q.weight_scale", "BF16", (4, 1))) == 0
    assert parameters(tensor("q.weight", "F8_E4M3", (4, 4))) == 16


def test_sizes_on_disk_are_all_that_is_known_of_pickles() -> None:
    assert of_sizes({"a.bin": 5, "b.bin": 7, "c": 9}, ["a.bin", "b.bin"]) == Weights(
        bytes=12, parameters=None, exact=False
    )


def test_floats_become_the_dtype_that_is_computed_in_unless_quantized() -> None:
    weights = of_tensors([tensor("q_proj.weight", "F32")])
    assert loaded(weights, ARCHITECTURE, Dtype.BFLOAT16) == 512 * 512 * 2
    assert loaded(weights, ARCHITECTURE, Dtype.FLOAT32) == 512 * 512 * 4


def test_a_tied_output_layer_is_loaded_once() -> None:
    weights = of_tensors([tensor("transformer.word_embeddings.weight"), tensor("lm_head.weight")])
    tied = Architecture(
        name="F", layers=1, caches=(), hidden=512, heads=8, vocabulary=512, context=None, tied=True
    )
    assert loaded(weights, ARCHITECTURE, Dtype.BFLOAT16) == 2 * 512 * 512 * 2
    assert loaded(weights, tied, Dtype.BFLOAT16) == 512 * 512 * 2


def test_what_is_shared_and_what_is_repeated() -> None:
    shared, norm = (
        tensor("layers.0.self_attn.q_proj.weight"),
        tensor("layers.0.input_norm.weight", shape=(512,)),
    )
    keys = tensor("layers.0.self_attn.k_proj.weight", shape=(128, 512))
    router = tensor("layers.0.mlp.gate.weight", shape=(8, 512))
    for one, on_each in ((shared, 4), (norm, 1), (router, 1), (keys, 2)):
        assert loaded(of_tensors([one]), ARCHITECTURE, Dtype.BFLOAT16, ranks=4) == one.bytes // on_each, one


def test_it_is_said_what_does_not_divide() -> None:
    assert cannot_share(ARCHITECTURE, 1) is None
    assert cannot_share(ARCHITECTURE, 4) is None
    assert "8 attention heads" in (cannot_share(ARCHITECTURE, 3) or "")
    odd = Architecture(
        name="O",
        layers=1,
        caches=(Attention(heads=6, key=64, value=64),),
        hidden=512,
        heads=12,
        vocabulary=1,
        context=None,
    )
    assert "neither divides" in (cannot_share(odd, 4) or "")
    states = Architecture(
        name="S",
        layers=1,
        caches=(State(channels=6, steps=3, recurrent=6),),
        hidden=6,
        heads=0,
        vocabulary=1,
        context=None,
    )
    assert "states cannot be shared" in (cannot_share(states, 4) or "")


def test_it_is_said_what_every_gpu_keeps_whole() -> None:
    assert repeated(ARCHITECTURE, 2) is None
    assert repeated(ARCHITECTURE, 4) == "2 key-value heads are repeated on 4 GPUs"
    latent = Architecture(
        name="L", layers=1, caches=(Latent(width=576),), hidden=8, heads=8, vocabulary=1, context=None
    )
    assert "all of the latent" in (repeated(latent, 8) or "")


@given(
    some.lists(
        some.tuples(some.sampled_from(["q_proj", "k_proj", "norm", "gate", "up_proj"]), some.integers(1, 64))
    )
)
def test_more_ranks_never_load_more_on_each_and_together_never_less(kinds: list[tuple[str, int]]) -> None:
    weights = of_tensors(
        [tensor(f"l.{i}.{kind}.weight", shape=(size, 8)) for i, (kind, size) in enumerate(kinds)]
    )
    sizes = [loaded(weights, ARCHITECTURE, Dtype.BFLOAT16, ranks=n) for n in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size * n >= sizes[0] for size, n in zip(sizes, (1, 2, 4, 8), strict=True))


def test_the_decay_of_a_state_is_loaded_in_float32_whatever_the_file_holds() -> None:
    weights = of_tensors([tensor("layers.0.mamba.A_log", shape=(64, 16)), tensor("layers.0.mamba.in_proj")])
    assert loaded(weights, ARCHITECTURE, Dtype.BFLOAT16) == 64 * 16 * 4 + 512 * 512 * 2


@pytest.fixture
def gguf_file(tmp_path: Path) -> bytes:
    """A GGUF file that gguf's own writer makes: two layers, a tokenizer's list, and quantized tensors."""
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_embedding_length(128)
    writer.add_context_length(1024)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", numpy.zeros((3, 128), numpy.float16))
    for layer in (0, 1):
        writer.add_tensor(f"blk.{layer}.attn_q.weight", numpy.zeros((128, 128), numpy.float32))
    writer.add_tensor("output.weight", numpy.zeros((3, 128), numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (tmp_path / "m.gguf").read_bytes()


def test_a_gguf_header_says_what_the_file_holds(gguf_file: bytes) -> None:
    found = read_gguf_header(gguf_file)
    assert {one.name: (one.dtype, one.bytes) for one in found.tensors} == {
        "token_embd.weight": ("F16", 768),
        "blk.0.attn_q.weight": ("F32", 65536),
        "blk.1.attn_q.weight": ("F32", 65536),
        "output.weight": ("F16", 768),
    }
    model = read_gguf_architecture(found)
    assert isinstance(model, Architecture)
    assert (model.layers, model.context, model.vocabulary) == (2, 1024, 3)
    assert set(model.caches) == {Attention(heads=2, key=32, value=32)}


def test_a_gguf_header_that_goes_on_asks_for_more(gguf_file: bytes) -> None:
    with pytest.raises(CutShort):
        read_gguf_header(gguf_file[:100])
    with pytest.raises(BadHeader, match="version 9"):
        read_gguf_header(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))


def test_layers_go_to_the_gpu_from_the_last_on(gguf_file: bytes) -> None:
    found = read_gguf_header(gguf_file)
    model = read_gguf_architecture(found)
    assert isinstance(model, Architecture)
    # A layer has 65536 bytes, and 2 heads x 64 values x 2 bytes for each of 100 tokens.
    each = 65536 + 100 * 256
    on = [offload(model, found.tensors, memory, 100).on for memory in (0, 768, 768 + each, 768 + 2 * each)]
    assert on == [0, 1, 2, 3]
    assert offload(model, found.tensors, 768 + 2 * each, 100).whole
    assert not offload(model, found.tensors, 768 + 2 * each, 101).whole
