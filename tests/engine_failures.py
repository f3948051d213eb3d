"""What the pinned engines print when they cannot start: each failure made to happen with the real ones.

    python -m tests.engine_failures                                # all of them: half an hour on two cores
    python -m tests.engine_failures vllm/gated llama-cpp/directory

It writes `tests/unit/engine_logs/ENGINE-VERSION/FAILURE.txt`, which `tests/unit/test_engine_logs.py` reads.
Times, processes and places are neutral there; of tracebacks, only the lines that raise are kept. After an
engine's upgrade: run it, look at the difference, and mend `plan/diagnosis.py`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from examples.make_tiny_gguf import make as make_gguf
from examples.make_tiny_model import make
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.engine import Pin
from tests.fakes import FakeReporter
from tests.hub import Hub

LOGS = Path(__file__).parent / "unit" / "engine_logs"
PINS = {"vllm": vllm.CPU_PIN, "llama-cpp": llama_cpp.PIN}
SMALL = ("--kv-cache-memory-bytes", "256M", "--enforce-eager")
NO_NETWORK = "http://127.0.0.1:9"
LENGTH = 400
_PLACES = (
    (re.compile(r"(?<![\w/])/\S*?/engines/[^/]+/lib/python[\d.]+/site-packages"), "/engine"),
    (re.compile(r"(?<![\w/])/\S*?/lib/python3\.\d+(?=/)"), "/python"),
    (re.compile(r"(?<![\w/])/\S*?/engines/[^/]+/bin"), "/engine/bin"),
    (re.compile(r"\bpid=\d+"), "pid=1"),
    (re.compile(r"\b\d\d-\d\d \d\d:\d\d:\d\d\b"), "01-01 00:00:00"),
    (re.compile(r"^\d+\.\d\d\.\d{3}\.\d{3} "), "0.00.000.000 "),
    (re.compile(r"\b127\.0\.0\.1:\d{4,5}|\blocalhost:\d{4,5}"), "127.0.0.1:8000"),
    (re.compile(r"\bport: \d{4,5}|'port': \d{4,5}"), "port: 8000"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x0"),
    (re.compile(r"(?<=process \[)\d+|(?<=\bpid )\d+"), "1"),
    (re.compile(r"(?<=mq_connect_ip=)[\d.]+"), "127.0.0.1"),
    (re.compile(r"\x1b\[[0-9;]*[A-Za-z]"), ""),
)
_FRAME = re.compile(r'^(?:\([^)]*\) )*(?:[A-Z]+ [\d-]+ [\d:]+ \[[^\]]+\] )?(?:  File "| {4}(?! *raise ))')
_TELLS_NOTHING = re.compile(
    r"\bRoute: |\[(api_utils|parallel_state|ompmultiprocessing|cpu_worker|weight_utils)\.py|Warning: "
    r"|^\[?W\d{4} |^  (if hasattr|wrapper =|warnings\.warn)|safetensors checkpoint shards"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start that fails: the model, further options and variables; `memory` is a limit in bytes.

    vLLM's cache is small unless `small` is false. With `kills`, a process of that name gets the signal `by`
    as soon as the log has said `after`.
    """

    model: Path | str
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    memory: int | None = None
    small: bool = True
    kills: str | None = None
    after: str = ""
    by: signal.Signals = signal.SIGKILL


class Ground:
    """A folder with a small model and ways to spoil it, a hub, and a port that is taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiny = make(folder / "tiny")
        self.gguf = make_gguf(self.tiny, folder / "tiny.gguf")
        self.taken = socket.create_server(("127.0.0.1", 0))
        self.hub = Hub({"org/tiny": self.tiny, "org/gated": self.tiny}, gated={"org/gated": "hf_good"})
        self.hub.refused = frozenset({"hf_revoked"})

    @property
    def port(self) -> str:
        return str(self.taken.getsockname()[1])

    def spoilt(self, name: str, spoil: Callable[[Path], object]) -> Path:
        """A copy of the model, spoilt."""
        folder = self.folder / name
        shutil.copytree(self.tiny, folder)
        spoil(folder)
        return folder

    def described(self, name: str, **changes: object) -> Path:
        """A copy of the model with another config.json."""

        def change(folder: Path) -> None:
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | changes))

        return self.spoilt(name, change)

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def folder_with(self, name: str, file: Path) -> Path:
        folder = self.folder / name
        folder.mkdir()
        shutil.copy(file, folder)
        return folder


def of_vllm(ground: Ground) -> dict[str, Start]:
    """vLLM's failures by name."""
    tiny = ground.tiny
    weights = "model.safetensors"

    def index(folder: Path) -> None:
        names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        (folder / weights).rename(folder / names[0])
        told = {"lm_head.weight": names[1], "model.norm.weight": names[0]}
        (folder / f"{weights}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": told}))

    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    own = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    martian = ["MartianForCausalLM"]
    return {
        "no_network": Start(model="org/tiny", environ={"HF_ENDPOINT": NO_NETWORK}),
        "no_such_directory": Start(model="/models/absent"),
        "offline_and_not_cached": Start(model="org/tiny", environ={"HF_HUB_OFFLINE": "1"}),
        "gated": Start(model="org/gated"),
        "gated_for_this_token": Start(model="org/gated", environ={"HF_TOKEN": "hf_other"}),
        "absent": Start(model="org/nothing"),
        "absent_for_this_token": Start(model="org/nothing", environ={"HF_TOKEN": "hf_other"}),
        "token_refused": Start(model="org/tiny", environ={"HF_TOKEN": "hf_revoked"}),
        "no_such_revision": Start(model="org/tiny", options=("--revision", "v9")),
        "context_too_long": Start(model=tiny, options=("--max-model-len", "999999")),
        "port_taken": Start(model=tiny, options=("--port", ground.port)),
        "cache_larger_than_memory": Start(model=tiny, options=("--kv-cache-memory-bytes", "900G")),
        "cache_without_a_block": Start(model=tiny, options=("--kv-cache-memory-bytes", "64K")),
        "memory_held": Start(model=tiny, options=("--gpu-memory-utilization", "0.999"), small=False),
        "out_of_memory": Start(model=tiny, memory=2**31),
        "a_gguf_file": Start(model=ground.gguf),
        "a_directory_of_gguf": Start(model=ground.folder_with("only-gguf", ground.gguf)),
        "weights_cut_short": Start(model=ground.spoilt("cut", lambda f: os.truncate(f / weights, 200_000))),
        "no_weights": Start(model=ground.spoilt("no-weights", lambda f: (f / weights).unlink())),
        "a_shard_missing": Start(model=ground.spoilt("shard-missing", index)),
        "other_shapes": Start(model=ground.described("other-shapes", hidden_size=256, head_dim=64)),
        "no_config": Start(model=ground.spoilt("no-config", lambda f: (f / "config.json").unlink())),
        "config_not_json": Start(
            model=ground.spoilt("bad-config", lambda f: (f / "config.json").write_text("{"))
        ),
        "unknown_model_type": Start(
            model=ground.described("martian", model_type="martian", architectures=martian)
        ),
        "unknown_architecture": Start(model=ground.described("martian-llama", architectures=martian)),
        "parallel_beyond_the_machine": Start(model=tiny, options=("--tensor-parallel-size", "2")),
        "parallel_that_does_not_divide": Start(model=tiny, options=("--tensor-parallel-size", "3")),
        "no_such_adapter": Start(
            model=tiny, options=("--enable-lora", "--lora-modules", "french=/adapters/absent")
        ),
        "unknown_option": Start(model=tiny, options=("--max-model-length", "4096")),
        "option_of_another_type": Start(model=tiny, options=("--max-model-len", "many")),
        "option_of_another_choice": Start(model=tiny, options=("--dtype", "half16")),
        "no_tokenizer": Start(model=ground.spoilt("no-tokenizer", lambda f: (f / "tokenizer.json").unlink())),
        "tokenizer_damaged": Start(
            model=ground.spoilt("bad-tokenizer", lambda f: (f / "tokenizer.json").write_text("{}"))
        ),
        "other_quantization": Start(
            model=ground.described("awq", quantization_config=awq), options=("--quantization", "gptq")
        ),
        "not_quantized": Start(model=tiny, options=("--quantization", "awq")),
        "unknown_quantization": Start(
            model=ground.described("foo", quantization_config={"quant_method": "foo", "bits": 4})
        ),
        "quantization_for_others": Start(
            model=ground.described(
                "fp4", quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4"}
            )
        ),
        "no_such_chat_template": Start(model=tiny, options=("--chat-template", "absent.jinja")),
        "code_of_its_own": Start(
            model=ground.described("own", model_type="own", architectures=["Own"], auto_map=own)
        ),
        "killed_when_ready": Start(model=tiny, kills="VLLM::Worker", after="Application startup complete"),
        # What a processor does to a worker that uses AMX without having asked Linux for it.
        "illegal_instruction": Start(
            model=tiny, kills="VLLM::Worker", after="Application startup complete", by=signal.SIGILL
        ),
        "killed_when_starting": Start(model=tiny, kills="VLLM::EngineCore", after="EngineCore pid="),
    }


def of_llama_cpp(ground: Ground) -> dict[str, Start]:
    """llama-server's failures by name."""
    gguf, content = ground.gguf, ground.gguf.read_bytes()
    too_much = ("--ctx-size", "20000000")

    def without(name: str, *keys: str, tensors: tuple[str, ...] = (), **more: str | int) -> Path:
        return copied(gguf, ground.folder / name, keys, tensors, **more)

    return {
        "no_such_file": Start(model="/models/absent.gguf"),
        "not_gguf": Start(model=ground.file("page.gguf", b"<!DOCTYPE html>" * 100)),
        "a_directory": Start(model=ground.tiny),
        "empty": Start(model=ground.file("empty.gguf", b"")),
        "tensors_cut_short": Start(model=ground.file("cut.gguf", content[:-200_000])),
        "keys_cut_short": Start(model=ground.file("head.gguf", content[:5000])),
        "gguf_of_another_version": Start(
            model=ground.file("v9.gguf", content[:4] + (9).to_bytes(4, "little") + content[8:])
        ),
        "a_shard_missing": Start(model=without("tiny-00001-of-00002.gguf", split=2)),
        "a_tensor_missing": Start(model=without("tensor.gguf", tensors=("output_norm.weight",))),
        "unknown_architecture": Start(model=without("martian.gguf", architecture="martian")),
        "no_tokenizer": Start(model=without("no-tokenizer.gguf", "tokenizer.")),
        "port_taken": Start(model=gguf, options=("--port", ground.port)),
        "cache_larger_than_memory": Start(model=gguf, options=too_much, memory=4 * 10**9),
        "out_of_memory": Start(model=gguf, memory=150_000 * 1024),
        "no_such_adapter": Start(model=gguf, options=("--lora", "/adapters/absent.gguf")),
        "no_such_projector": Start(model=gguf, options=("--mmproj", "/models/absent.gguf")),
        "no_such_chat_template": Start(model=gguf, options=("--chat-template-file", "/absent.jinja")),
        "chat_template_damaged": Start(model=gguf, options=("--jinja", "--chat-template", "{% if %}")),
        "unknown_option": Start(model=gguf, options=("--max-model-length", "4096")),
        "option_of_another_type": Start(model=gguf, options=("--ctx-size", "many")),
        "option_of_another_choice": Start(model=gguf, options=("--cache-type-k", "q99")),
    }


def copied(
    source: Path,
    out: Path,
    keys: tuple[str, ...],
    tensors: tuple[str, ...],
    architecture: str = "llama",
    split: int = 0,
) -> Path:
    """A GGUF file without some keys (by their beginning) and tensors, of another architecture or split."""
    import gguf
    import numpy

    read, written = gguf.GGUFReader(source), gguf.GGUFWriter(out, architecture)
    for name, one in read.fields.items():
        if not name.startswith(("GGUF.", "general.architecture", *keys)):
            kind, of = one.types[0], one.types[-1] if len(one.types) > 1 else None
            written.add_key_value(name.replace("llama.", f"{architecture}."), one.contents(), kind, of)
    if split:
        written.add_uint16("split.no", 0)
        written.add_uint16("split.count", split)
        written.add_int32("split.tensors.count", len(read.tensors))
    for tensor in read.tensors:
        if tensor.name not in tensors:
            written.add_tensor(tensor.name, numpy.array(tensor.data))
    written.write_header_to_file()
    written.write_kv_data_to_file()
    written.write_tensors_to_file()
    written.close()
    return out


def said(engine: str, executable: str, start: Start, ground: Ground, *, within: float = 200) -> str:
    """What the engine printed until it ended, which it must."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = ("--host", "127.0.0.1", "--port", str(free.getsockname()[1]))
    named = ("serve", str(start.model)) if engine == "vllm" else ("-m", str(start.model))
    small = SMALL if engine == "vllm" and start.small else ()
    home = ground.folder / "home"
    home.mkdir(exist_ok=True)
    environ = {
        "PATH": f"{Path(executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "HF_ENDPOINT": ground.hub.url,
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    log = ground.folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [executable, *named, *listen, *small, *start.options],
            env=environ | start.environ,
            cwd=ground.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_limit(start.memory),
        )
        try:
            if start.kills:
                _kill(process, start, log, within)
            process.wait(within)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return log.read_text(errors="replace")


def _limit(memory: int | None) -> Callable[[], None] | None:
    if memory is None:
        return None
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _kill(process: subprocess.Popen[bytes], start: Start, log: Path, within: float) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and process.poll() is None:
        named = [one for one in _below(process.pid) if one.name() == start.kills]
        if named and start.after in log.read_text(errors="replace"):
            named[0].send_signal(start.by)
            return
        time.sleep(0.05)


def _below(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        yield from psutil.Process(pid).children(recursive=True)


def neutral(text: str, ground: Path) -> str:
    """The same without what differs from run to run and from machine to machine, and without tracebacks'
    frames; of a frame only a line that raises stays, for it may quote a message that was not meant."""
    lines = []
    for line in text.replace(str(ground), "/models").splitlines():
        for pattern, word in _PLACES:
            line = pattern.sub(word, line)
        if line.strip() and not _FRAME.match(line) and not _TELLS_NOTHING.search(line):
            lines.append(line[:LENGTH].rstrip())
    return "".join(f"{line}\n" for line in lines)


def write(engine: str, pin: Pin, name: str, text: str, ground: Path) -> Path:
    path = LOGS / f"{engine}-{pin.version}" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(neutral(text, ground))
    return path


def main(wanted: list[str]) -> None:
    """Write the logs of the failures that are named, or of all."""
    root = os.environ.get("LLM_ATC_TEST_CACHE") or Path.home() / ".cache" / "llm-atc-tests"
    engines = EnginesHere(Path(root) / "home", prefer_own=False)
    with tempfile.TemporaryDirectory(prefix="failures-") as folder:
        ground = Ground(Path(folder))
        with ground.hub, ground.taken:
            for engine, of in (("vllm", of_vllm), ("llama-cpp", of_llama_cpp)):
                for name, start in of(ground).items():
                    if wanted and f"{engine}/{name}" not in wanted:
                        continue
                    executable = engines.ensure(PINS[engine], FakeReporter())
                    text = said(engine, executable, start, ground)
                    print(write(engine, PINS[engine], name, text, ground.folder), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
