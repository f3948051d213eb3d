"""`llm-atc download` and `llm-atc models` with a real hub's protocol and real buckets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_atc.errors import SourceError
from llm_atc.plan.model import ModelRef, ModelSpec, Where
from llm_atc.sources.download import Wish, download
from llm_atc.sources.hub_cache import HubCache
from llm_atc.sources.kept import find_kept, list_kept, remove_kept
from llm_atc.sources.models import AllModels
from llm_atc.sources.moving import check_room
from llm_atc.store.database import Database
from tests.hub import Hub
from tests.local_fixtures import Told, eventually, plan_here
from tests.source_fixtures import Place, gguf, make_model, put_directory, refused

HubOf = Callable[..., Hub]
MIB = 1024 * 1024


@pytest.fixture
def models(tmp_path: Path) -> AllModels:
    """A machine that keeps nothing yet."""
    return AllModels(tmp_path / "home", tmp_path / "hub")


def bring(models: AllModels, name: str, source: str | None = None, **wish: list[str]) -> Path:
    return download(models, ModelRef.parse(name, source), lambda *_: None, wish=Wish(**wish)).path


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def crowded(folder: Path) -> Path:
    """A repository that holds its weights in several formats."""
    make_model(folder)
    (folder / "original").mkdir()
    for name in ("pytorch_model.bin", "tf_model.h5", "original/consolidated.00.pth", "README.md"):
        (folder / name).write_bytes(b"x" * 20_000)
    return folder


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """A repository with three quantizations, one of them in two parts."""
    folder = tmp_path / "quantized"
    folder.mkdir()
    for number, name in enumerate(
        ("m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf")
    ):
        (folder / name).write_bytes(gguf(size=20_000 + number))
    (folder / "README.md").write_text("hello")
    return folder


def test_a_hub_s_model_comes_once_each_weight_by_commit(
    hub_of: HubOf, models: AllModels, tmp_path: Path
) -> None:
    hub = hub_of({"org/tiny": crowded(tmp_path / "m")})
    told: list[tuple[int, int]] = []
    done = download(models, ModelRef.parse("org/tiny"), lambda done, total, _: told.append((done, total)))
    sha = hub.repositories["org/tiny"].sha
    assert done.path == tmp_path / "hub" / "models--org--tiny" / "snapshots" / sha
    wanted = {"config.json", "tokenizer.json", "README.md"} | {
        f"model-0000{n}-of-00002.safetensors" for n in (1, 2)
    }
    assert below(done.path) == wanted
    assert (done.moved.files, done.moved.skipped) == (5, 0)
    assert told[-1] == (done.moved.bytes, done.moved.bytes)
    for name in wanted:
        assert (done.path / name).read_bytes() == (tmp_path / "m" / name).read_bytes()
    assert (tmp_path / "hub" / "models--org--tiny" / "refs" / "main").read_text() == sha
    hub.sent = 0
    again = download(models, ModelRef.parse(f"org/tiny@{sha}"), lambda *_: None)
    assert (again.path, again.moved.skipped) == (done.path, 5)
    assert [path for method, path in hub.requests if method == "GET" and "onsolidated" in path] == []


def test_what_was_downloaded_is_what_serve_loads(hub_of: HubOf, models: AllModels, quantized: Path) -> None:
    hub = hub_of({"org/q-GGUF": quantized})
    path = bring(models, "org/q-GGUF:Q8_0")
    assert below(path.parent) == {"m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"}
    hub.requests.clear()
    spec = models.look(ModelRef.parse("org/q-GGUF:Q8_0"), None)
    assert models.fetch(spec, Told()) == str(path)
    assert path.name == "m-Q8_0-00001-of-00002.gguf"
    files = [path for method, path in hub.requests if method == "GET" and "/resolve/" in path]
    assert len(files) == 2, "looks at the head, and no file again"


def test_patterns_take_what_an_engine_would_not(hub_of: HubOf, models: AllModels, tmp_path: Path) -> None:
    hub_of({"org/tiny": crowded(tmp_path / "m")})
    assert below(bring(models, "org/tiny", include=["original/*"], exclude=["*.md"])) == {
        "original/consolidated.00.pth"
    }


@pytest.mark.parametrize("quantization", ["", ":Q8_0"])
def test_a_bucket_s_checkpoint_comes_to_where_serve_keeps_it(
    each_bucket: Place, models: AllModels, quantized: Path, tmp_path: Path, quantization: str
) -> None:
    put_directory(each_bucket, quantized if quantization else crowded(tmp_path / "m"), "m/")
    source = f"{each_bucket.address}/m{quantization}"
    path = bring(models, "llm-atc/tiny", source)
    folder = path.parent if quantization else path
    weights = {"m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"} if quantization else {
        "config.json", "tokenizer.json", "README.md", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }  # fmt: skip
    assert below(folder) - {".llm-atc.json"} == weights
    told = Told()
    assert models.fetch(models.look(ModelRef.parse("llm-atc/tiny", source), None), told) == str(path)
    assert told.notes == [], "nothing was copied again"


def test_a_disk_that_is_too_small_is_said_before_anything_comes(tmp_path: Path) -> None:
    with refused(SourceError, says=r"GB free, and 1000000000.0 GB are to come", hints="df -h"):
        check_room(tmp_path / "not" / "yet", 10**18)


def test_what_is_here_of_an_interrupted_download_is_not_counted_to_come(
    hub_of: HubOf, models: AllModels, tmp_path: Path
) -> None:
    hub = hub_of({"org/tiny": crowded(tmp_path / "m")})
    spec = models.look(ModelRef.parse("org/tiny"), None)
    cache = HubCache(tmp_path / "hub")
    file = cache.files(spec, None)["README.md"]
    blobs = tmp_path / "hub" / "models--org--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{file.blob}.incomplete").write_bytes(b"x" * 15_000)
    assert file.size - cache._begun(blobs.parent, file) == 5_000
    bring(models, "org/tiny", include=["README.md"])
    assert hub.sent < 20_000


# --- the command


def run(home: Path, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("llm-atc"), *words],
        env=os.environ | {"HF_HOME": str(home / "hf"), "LLM_ATC_HOME": str(home / "atc")} | env,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_ended_in_the_middle_the_next_run_goes_on(hub_of: HubOf, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    content = gguf(size=34 * MIB)
    (tmp_path / "m" / "m-Q4_0.gguf").write_bytes(content)
    hub = hub_of({"org/large-GGUF": tmp_path / "m"})
    stalled, gate = threading.Event(), threading.Event()

    def stall() -> None:
        if hub.sent > 25 * MIB and not gate.is_set():
            stalled.set()
            gate.wait(60)

    hub.before_each_piece = stall
    words = ["download", "org/large-GGUF"]
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "LLM_ATC_HOME": str(tmp_path / "atc")}
    with subprocess.Popen(
        [Path(sys.executable).with_name("llm-atc"), *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert stalled.wait(60)
        parts = tmp_path / "hf" / "hub" / "models--org--large-GGUF" / "blobs"
        eventually(lambda: sum(one.stat().st_size for one in parts.glob("*.incomplete")) >= 20 * MIB)
        process.send_signal(signal.SIGINT)
        assert process.wait(8) == 130
        assert process.stderr is not None
        assert "Try: llm-atc download org/large-GGUF" in process.stderr.read()
    listed = json.loads(run(tmp_path, "models", "--json").stdout)
    assert [(one["name"], one["complete"]) for one in listed] == [("org/large-GGUF", False)]
    assert listed[0]["bytes"] >= 20 * MIB
    gate.set()
    hub.sent = 0
    done = run(tmp_path, *words)
    assert hub.sent < 16 * MIB
    assert Path(done.stdout.strip()).read_bytes() == content
    assert "Downloading: " in done.stderr


def test_the_pick_is_said_and_json_tells_all(hub_of: HubOf, quantized: Path, tmp_path: Path) -> None:
    hub = hub_of({"org/q-GGUF": quantized})
    done = run(tmp_path, "download", "org/q-GGUF", "--revision", "main", "--json")
    assert (
        "Of its quantizations Q4_K_M is taken; there are also Q8_0, Q2_K (such as org/q-GGUF@main:Q8_0)"
        in (done.stderr)
    )
    facts = json.loads(done.stdout)
    assert facts | {"path": None} == {
        "model": "org/q-GGUF", "revision": hub.repositories["org/q-GGUF"].sha, "format": "gguf", "path": None,
        "files": 1, "bytes": 20_001, "skipped": 0,
    }  # fmt: skip
    assert Path(facts["path"]).read_bytes() == (quantized / "m-Q4_K_M.gguf").read_bytes()


def test_what_cannot_be_downloaded_is_said(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub_of({"org/tiny": model_directory, "org/gated": model_directory}, gated={"org/gated": "hf_right"})
    for words, code, says in (
        (("org/absent",), 1, "No model 'org/absent' on the hub"),
        (("org/gated",), 1, "org/gated is gated: it needs a token"),
        (("org/tiny", "--revision", "v9"), 1, "org/tiny has no revision 'v9'"),
        (("org/tiny:Q4_K_M",), 1, "org/tiny holds no GGUF file"),
        (("org/tiny", "--include", "*.nosuch"), 1, "No file of org/tiny is left"),
        ((str(model_directory),), 2, "is on this machine already"),
        (("llm-atc/mine",), 2, "say where it lies"),
    ):
        assert says in run(tmp_path, "download", *words, code=code).stderr
    assert Path(run(tmp_path, "download", "org/gated", HF_TOKEN="hf_right").stdout.strip()).is_dir()


# --- what is kept


def names(models: AllModels, **plans: Any) -> list[tuple[str, bool, tuple[str, ...]]]:
    return [(one.name, one.complete, one.used_by) for one in list_kept(models, plans)]


def test_what_is_here_is_listed_with_who_uses_it(
    hub_of: HubOf, each_bucket: Place, models: AllModels, quantized: Path, tmp_path: Path
) -> None:
    hub = hub_of({"org/tiny": crowded(tmp_path / "m"), "org/q-GGUF": quantized})
    assert names(models) == []
    bring(models, "org/tiny")
    bring(models, "org/q-GGUF:Q2_K")
    quant = models.look(ModelRef.parse("org/q-GGUF:Q8_0"), None)
    path = bring(models, "org/q-GGUF:Q8_0")
    put_directory(each_bucket, crowded(tmp_path / "b"), "b/")
    source = f"{each_bucket.address}/b"
    bring(models, "llm-atc/mine", source)
    mine = models.look(ModelRef.parse("llm-atc/mine", source), None)

    def plan(spec: ModelSpec) -> Any:
        return replace(plan_here("any"), model=spec)

    users = {"a": plan(quant), "b": plan(mine), "c": plan_here("c", str(path)), "d": plan_here("d", "/else")}
    assert names(models, **users) == sorted(
        [
            ("org/q-GGUF:Q2_K", True, ()),
            ("org/q-GGUF:Q8_0", True, ("a", "c")),
            ("org/tiny", True, ()),
            (source, True, ("b",)),
        ]
    )
    kept = {one.name: one for one in list_kept(models, {})}
    assert kept["org/q-GGUF:Q8_0"].bytes == 40_005
    assert kept["org/tiny"].revision == hub.repositories["org/tiny"].sha
    assert kept[source].ref.where in (Where.S3, Where.GCS)
    assert all(one.last_used for one in kept.values())


def test_removing_frees_exactly_what_nothing_else_needs(
    hub_of: HubOf, models: AllModels, quantized: Path, tmp_path: Path
) -> None:
    hub_of({"org/tiny": crowded(tmp_path / "m"), "org/q-GGUF": quantized})
    bring(models, "org/tiny")
    path = bring(models, "org/q-GGUF:Q8_0")
    other = bring(models, "org/q-GGUF:Q2_K")
    gone = find_kept("org/q-GGUF:q8_0", list_kept(models, {}))
    assert remove_kept(gone, models) == 40_005
    assert not path.exists()
    assert other.read_bytes() == (quantized / "m-Q2_K.gguf").read_bytes()
    assert remove_kept(find_kept("org/q-GGUF", list_kept(models, {})), models) >= 20_000
    assert names(models) == [("org/tiny", True, ())]
    assert not (tmp_path / "hub" / "models--org--q-GGUF").exists()


def test_two_revisions_are_told_apart_and_share_what_is_the_same(
    hub_of: HubOf, models: AllModels, tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "m")
    first = hub_of({"org/tiny": folder}).repositories["org/tiny"].sha
    bring(models, "org/tiny")
    (folder / "tokenizer.json").write_text('{"changed": true}')
    second = hub_of({"org/tiny": folder}).repositories["org/tiny"].sha
    new = bring(models, "org/tiny")
    assert first != second
    assert len(list_kept(models, {})) == 2
    freed = remove_kept(find_kept(f"org/tiny@{first[:8]}", list_kept(models, {})), models)
    assert freed < 1000, "the weights belong to the other revision too"
    assert below(new) == {path.name for path in folder.iterdir()}


def test_a_part_that_is_missing_is_not_complete(hub_of: HubOf, models: AllModels, tmp_path: Path) -> None:
    hub_of({"org/tiny": make_model(tmp_path / "m")})
    bring(models, "org/tiny", exclude=["*00002*"])
    assert names(models) == [("org/tiny", False, ())]


def test_removing_what_is_used_asks_first(hub_of: HubOf, model_directory: Path, tmp_path: Path) -> None:
    hub_of({"org/tiny": model_directory})
    path = Path(run(tmp_path, "download", "org/tiny").stdout.strip())
    store = Database(tmp_path / "atc" / "state.db")
    store.save(plan_here("busy", str(path)), 1.0)
    listed = run(tmp_path, "models").stdout
    assert "org/tiny" in listed
    assert "busy" in listed
    assert "is used by busy" in run(tmp_path, "models", "remove", "org/tiny", code=1).stderr
    assert path.exists()
    assert "freed" in run(tmp_path, "models", "remove", "org/tiny", "--yes").stdout
    assert not path.exists()
    assert json.loads(run(tmp_path, "models", "--json").stdout) == []
    assert "No model 'org/tiny' is kept" in run(tmp_path, "models", "remove", "org/tiny", code=1).stderr
