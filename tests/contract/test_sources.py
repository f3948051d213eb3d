"""Models on disk, and fetching a model from anywhere: what is told, and what is said when it does not go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_atc.errors import ModelNotFound, ModelUnservable, SourceError
from llm_atc.plan.model import Format, ModelRef, Runner
from llm_atc.plan.progress import Stage
from llm_atc.sources.models import AllModels
from tests.hub import Hub
from tests.source_fixtures import (
    GcsPlace,
    Place,
    S3Place,
    gguf,
    look,
    make_model,
    put_directory,
    refused,
)

HubOf = Callable[..., Hub]


def test_a_directory_tells_architecture_and_size(model_directory: Path) -> None:
    (model_directory / "pytorch_model.bin").write_bytes(b"the same weights once more")
    (model_directory / "original").mkdir()
    (model_directory / "original" / "consolidated.00.pth").write_bytes(b"and once more")
    (model_directory / "consolidated.safetensors").write_bytes(b"and again")
    spec = look(str(model_directory))
    assert spec.looked
    assert (spec.format, spec.runner) == (Format.HUGGING_FACE, Runner.GENERATE)
    assert spec.architecture == "LlamaForCausalLM"
    assert spec.bytes == sum(path.stat().st_size for path in model_directory.glob("model-*.safetensors"))
    assert spec.ref.location == str(model_directory)


def test_a_path_may_be_relative_or_below_home(
    own_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(own_environment / "mine")
    monkeypatch.chdir(own_environment)
    assert look("./mine").ref.location == look("~/mine").ref.location == str(own_environment / "mine")


@pytest.mark.parametrize(
    ("architecture", "runner"),
    [
        ("BertModel", Runner.POOLING),
        ("XLMRobertaModel", Runner.POOLING),
        ("LlamaModel", Runner.POOLING),
        ("Qwen3ForTextEmbedding", Runner.POOLING),
        ("Qwen3ForCausalLM", Runner.GENERATE),
        ("Gemma3ForConditionalGeneration", Runner.GENERATE),
        ("GPT2LMHeadModel", Runner.GENERATE),
        ("ChatGLMModel", Runner.GENERATE),
        ("InternVLChatModel", Runner.GENERATE),
    ],
)
def test_encoders_pool_and_the_others_generate(tmp_path: Path, architecture: str, runner: Runner) -> None:
    assert look(str(make_model(tmp_path / "m", architecture))).runner is runner


@pytest.mark.parametrize("marker", ["modules.json", "1_Pooling/config.json"])
def test_a_sentence_transformer_pools_whatever_its_architecture(model_directory: Path, marker: str) -> None:
    (model_directory / marker).parent.mkdir(exist_ok=True)
    (model_directory / marker).write_text("[]")
    assert look(str(model_directory)).runner is Runner.POOLING


def test_a_split_gguf_is_its_first_part_and_the_size_of_all(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"tiny-Q8_0-0000{number}-of-00003.gguf").write_bytes(gguf(size=1000 * number))
    spec = look(str(tmp_path))
    assert (spec.format, spec.architecture) == (Format.GGUF, "llama")
    assert spec.file == "tiny-Q8_0-00001-of-00003.gguf"
    assert spec.bytes == 6000


def test_of_several_quantizations_q4_k_m_is_taken_and_never_a_projector(tmp_path: Path) -> None:
    for name in ("a-F16.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-Q4_K_M.gguf"):
        (tmp_path / name).write_bytes(gguf())
    assert look(str(tmp_path)).file == "a-Q4_K_M.gguf"


def test_a_gguf_file_by_itself_is_its_folder_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf())
    (tmp_path / "b.gguf").write_bytes(gguf("bert"))
    spec = look(str(tmp_path / "b.gguf"))
    assert (spec.ref.location, spec.file, spec.runner) == (str(tmp_path), "b.gguf", Runner.POOLING)


def test_gguf_is_told_by_its_first_bytes_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(gguf())
    (tmp_path / "notes.txt").write_bytes(b"x" * 9000)
    assert look(str(tmp_path)).file == "weights"


def test_weights_in_gguf_go_before_a_configuration_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.gguf").write_bytes(gguf())
    assert look(str(tmp_path)).format is Format.GGUF


def test_an_absent_directory_is_not_found(tmp_path: Path) -> None:
    with refused(ModelNotFound, says="There is no directory .*/absent", hints=f"ls {tmp_path}"):
        look(str(tmp_path / "absent"))


def test_an_unreadable_directory_is_said_to_be_so(tmp_path: Path) -> None:
    # Root may read everything, so what cannot be read here is a name that is too long, and a loop of links.
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with refused(SourceError, says="cannot be read", hints="ls -la"):
        look(str(tmp_path / "loop"))
    with refused(SourceError, says="cannot be read", hints="ls -la"):
        look(str(tmp_path / ("x" * 300)))


@pytest.mark.parametrize("content", ["<html>not found</html>", "[1]", ""])
def test_a_configuration_that_is_not_json_is_said_to_be_so(model_directory: Path, content: str) -> None:
    (model_directory / "config.json").write_text(content)
    with refused(ModelUnservable, says=r"config\.json .* is not JSON", hints="llm-atc checkpoints ls /"):
        look(str(model_directory))


def test_a_configuration_without_weights_lists_what_is_there(model_directory: Path) -> None:
    for path in model_directory.glob("*.safetensors"):
        path.unlink()
    (model_directory / "training_args.bin").write_bytes(b"no weights")
    says = r"no weights .*There is: config\.json, tokenizer\.json, training_args\.bin"
    with refused(ModelUnservable, says=says, hints="llm-atc checkpoints ls"):
        look(str(model_directory))


def test_a_directory_of_anything_else_lists_some_of_it(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"photo{number}.jpg").write_bytes(b"\xff\xd8\xff")
    says = r"neither config\.json nor a GGUF file.*photo0\.jpg, .*photo4\.jpg and 3 more"
    with refused(ModelUnservable, says=says, hints="llm-atc checkpoints ls"):
        look(str(tmp_path))


def test_a_gguf_file_that_is_none_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with refused(ModelUnservable, says=r"a\.gguf .* is no GGUF file", hints="llm-atc checkpoints ls"):
        look(str(tmp_path))


def test_an_adapter_alone_is_told_with_its_model_and_what_serves_both(tmp_path: Path) -> None:
    config = '{"base_model_name_or_path": "Qwen/Qwen3-0.6B", "r": 8}'
    (tmp_path / "adapter_config.json").write_text(config)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    command = f"llm-atc serve --name Qwen/Qwen3-0.6B --lora {tmp_path.name}={tmp_path}"
    with refused(ModelUnservable, says="LoRA adapter.* it belongs to Qwen/Qwen3-0.6B", hints=command):
        look(str(tmp_path))


# --- fetching


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.lines: list[str] = []
        self.notes: list[str] = []

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


def fetch(home: Path, name: str, source: str | None = None) -> tuple[str, Told]:
    models, told = AllModels(home), Told()
    model = models.look(ModelRef.parse(name, source), None)
    foretold = models.path(model)
    path = models.fetch(model, told)
    assert path == foretold
    return path, told


def test_a_hub_model_is_loaded_by_its_name(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub_of({"org/tiny": model_directory})
    assert fetch(tmp_path, "org/tiny")[0] == "org/tiny"


def test_a_file_of_the_hub_is_loaded_from_where_it_was_foretold(hub_of: HubOf, tmp_path: Path) -> None:
    (tmp_path / "tiny-Q8_0.gguf").write_bytes(gguf("llama", size=300_000))
    hub_of({"org/tiny-GGUF": tmp_path})
    models = AllModels(tmp_path / "home", tmp_path / "cache")
    model = models.look(ModelRef.parse("org/tiny-GGUF:Q8_0"), None)
    foretold = models.path(model)
    assert not Path(foretold).exists()
    assert models.fetch(model, Told()) == foretold


def test_a_directory_is_loaded_where_it_is(model_directory: Path, tmp_path: Path) -> None:
    assert fetch(tmp_path, str(model_directory))[0] == str(model_directory)
    (tmp_path / "a.gguf").write_bytes(gguf())
    assert fetch(tmp_path, str(tmp_path / "a.gguf"))[0] == str(tmp_path / "a.gguf")


def test_a_bucket_s_checkpoint_is_copied_once(
    each_bucket: Place, model_directory: Path, tmp_path: Path
) -> None:
    put_directory(each_bucket, model_directory, "m/")
    found, told = fetch(tmp_path, "llm-atc/tiny", f"{each_bucket.address}/m")
    assert Path(found).parent == tmp_path / "models"
    assert Path(found).name.startswith("tiny-")
    names = sorted(path.name for path in model_directory.iterdir())
    assert sorted(path.name for path in Path(found).iterdir()) == [".llm-atc.json", *names]
    assert told.stages == [Stage.WEIGHTS]
    assert len(told.notes) == 1
    again, told = fetch(tmp_path, "llm-atc/tiny", f"{each_bucket.address}/m")
    assert (again, told.notes) == (found, [])


def test_a_copy_follows_what_the_bucket_removes(s3_place: S3Place, tmp_path: Path) -> None:
    s3_place.put("m/old.gguf", gguf())
    found, _ = fetch(tmp_path, "llm-atc/tiny", f"{s3_place.address}/m")
    assert Path(found).name == "old.gguf"
    s3_place.client.delete_object(Bucket=s3_place.name, Key="m/old.gguf")
    s3_place.put("m/new.gguf", gguf(size=6000))
    found, _ = fetch(tmp_path, "llm-atc/tiny", f"{s3_place.address}/m")
    assert {path.name for path in Path(found).parent.iterdir()} == {".llm-atc.json", "new.gguf"}


def test_two_addresses_with_one_name_are_kept_apart(
    s3_place: S3Place, gcs_place: GcsPlace, tmp_path: Path
) -> None:
    for place in (s3_place, gcs_place):
        place.put("m/a.gguf", gguf())
    first, _ = fetch(tmp_path, "llm-atc/tiny", f"{s3_place.address}/m")
    second, _ = fetch(tmp_path, "llm-atc/tiny", f"{gcs_place.address}/m")
    assert first != second


def test_importing_the_sources_imports_no_cloud() -> None:
    code = (
        "import sys, llm_atc.sources.models, llm_atc.sources.transfer, llm_atc.cli.checkpoints;"
        "print([m for m in ('boto3', 'botocore', 'google.cloud', 'huggingface_hub', 'httpx', 'requests')"
        " if m in sys.modules])"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
