"""What memory depends on, read from a hub, a bucket and a directory: headers only, the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from examples.make_tiny_model import make
from llm_atc.errors import ModelGated, ModelUnservable, SourceError
from llm_atc.plan.architecture import Architecture, Attention, Unknown
from llm_atc.plan.model import ModelRef
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.tensors import LENGTH_BYTES
from llm_atc.sources.models import AllModels
from llm_atc.sources.tensors import _on_disk, read_facts
from tests.hub import Hub
from tests.source_fixtures import Place, put_directory

HubOf = Callable[..., Hub]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make(tmp_path / "tiny")


def check(facts: Facts, tiny: Path) -> None:
    """These are the tiny model's facts, and its weights' bytes are its file's without the header."""
    path = tiny / "model.safetensors"
    header = int.from_bytes(path.read_bytes()[:LENGTH_BYTES], "little") + LENGTH_BYTES
    assert facts.weights.bytes == path.stat().st_size - header
    assert facts.weights.parameters == facts.weights.bytes // 4
    assert isinstance(facts.architecture, Architecture)
    assert facts.architecture.caches == (Attention(heads=2, key=32, value=32),) * 2
    assert facts.architecture.context == 2048


def test_a_directory(tiny: Path) -> None:
    check(read_facts(ModelRef.parse(str(tiny))), tiny)


def test_a_hub_sends_no_weights(hub_of: HubOf, tiny: Path) -> None:
    hub = hub_of({"org/tiny": tiny})
    check(read_facts(ModelRef.parse("org/tiny")), tiny)
    asked = [path for method, path in hub.requests if method == "GET" and "safetensors" in path]
    assert 1 <= len(asked) <= 2


def test_a_bucket(each_bucket: Place, tiny: Path) -> None:
    put_directory(each_bucket, tiny, "models/tiny/")
    address = f"{each_bucket.scheme}{each_bucket.name}/models/tiny/"
    check(read_facts(ModelRef.parse("llm-atc/tiny", address)), tiny)


def test_a_gated_model_is_said_to_be_one(hub_of: HubOf, tiny: Path) -> None:
    hub_of({"org/gated": tiny}, gated={"org/gated": "hf_right"})
    with pytest.raises(ModelGated):
        read_facts(ModelRef.parse("org/gated"))


def test_every_part_is_read_and_counted_once(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    for number in (1, 2, 3):
        values = {f"layer.{number}.weight": numpy.zeros((10, number), numpy.float16)}
        save_file(values, tiny / f"model-0000{number}-of-00003.safetensors")
    save_file({"again": numpy.zeros(9)}, tiny / "consolidated.safetensors")
    facts = read_facts(ModelRef.parse(str(tiny)))
    assert (facts.weights.bytes, facts.weights.parameters) == (2 * 60, 60)


def test_of_pickles_only_the_size_is_known(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    (tiny / "pytorch_model.bin").write_bytes(b"x" * 1000)
    facts = read_facts(ModelRef.parse(str(tiny)))
    assert (facts.weights.bytes, facts.weights.parameters, facts.weights.exact) == (1000, None, False)


def test_a_damaged_file_is_named(tiny: Path) -> None:
    (tiny / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelUnservable, match=r"model\.safetensors of tiny is damaged"):
        read_facts(ModelRef.parse(str(tiny)))


def test_a_file_that_cannot_be_read_is_named(tiny: Path) -> None:
    _, _, head = _on_disk(AllModels(tiny).look(ModelRef.parse(str(tiny)), None))
    (tiny / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"model\.safetensors cannot be read: No such file"):
        head("model.safetensors", 8)


def test_an_unknown_architecture_is_unknown_and_its_weights_are_counted(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"model_type": "brand_new"}))
    facts = read_facts(ModelRef.parse(str(tiny)))
    assert isinstance(facts.architecture, Unknown)
    assert facts.weights.bytes > 0


def test_a_gguf_file_by_itself(tiny: Path, tmp_path: Path) -> None:
    from examples import make_tiny_gguf

    make_tiny_gguf.make(tiny, tmp_path / "tiny.gguf")
    facts = read_facts(ModelRef.parse(str(tmp_path / "tiny.gguf")))
    assert isinstance(facts.architecture, Architecture)
    assert (facts.architecture.layers, facts.architecture.context) == (2, 2048)
    assert facts.weights.exact


def test_a_file_that_is_cut_short_is_named(tiny: Path) -> None:
    path = tiny / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelUnservable, match=r"model\.safetensors of tiny is damaged: it is cut short"):
        read_facts(ModelRef.parse(str(tiny)))


def test_a_gguf_file_that_is_cut_short_is_named(tiny: Path, tmp_path: Path) -> None:
    from examples import make_tiny_gguf

    path = tmp_path / "tiny.gguf"
    make_tiny_gguf.make(tiny, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelUnservable, match=r"tiny\.gguf of .* is damaged: it is cut short"):
        read_facts(ModelRef.parse(str(path)))


def test_a_part_that_an_index_promises_is_missed(tiny: Path) -> None:
    index = {"weight_map": {"x": "model-00002-of-00002.safetensors"}}
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnservable, match=r"tiny is not whole: model-00002-of-00002\.safetensors"):
        read_facts(ModelRef.parse(str(tiny)))


def test_what_lies_beside_the_weights_is_read(tiny: Path, tmp_path: Path) -> None:
    from examples import make_tiny_gguf

    make_tiny_gguf.make(tiny, tmp_path / "tiny.gguf")
    for place in (tiny, tmp_path / "tiny.gguf"):
        papers = read_facts(ModelRef.parse(str(place))).papers
        assert (papers.tokenizer, papers.chat_template) == (True, True)
