"""The real engines on this machine, installed as llm-atc installs them, answering a real client.

The first run installs vLLM (a minute) and builds llama-server (five minutes on two cores).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from llm_atc.access import Secret
from llm_atc.engines.installer import EnginesHere
from llm_atc.errors import EngineFailed
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.diagnosis import diagnose
from llm_atc.plan.engine import EngineName
from llm_atc.plan.generation import relay_words
from llm_atc.ports import EngineState, MachineState
from llm_atc.targets.local import LocalTarget
from llm_atc.targets.local_folder import Folder
from llm_atc.targets.processes import Stat, read_stat, session_members
from tests.engine_failures import LOGS, Ground, neutral, of_llama_cpp, said
from tests.local_fixtures import ModelsOnDisk, Told, eventually, get, plan_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KEYS = ("sk-atc-first-of-the-two", "sk-atc-second-of-the-two")
EXAMPLES = Path(__file__).parents[2] / "examples"
DEFAULTS = relay_words((("temperature", 0.0), ("max_tokens", 5)))
KV_CACHE = ("--kv-cache-memory-bytes", str(2**28))
PROMPT = [{"role": "user", "content": "The quick brown fox"}]
STARTING = 240


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples' models: `tiny`, `embed` and `tiny.gguf`."""
    folder = tmp_path_factory.mktemp("models")
    sys.path.insert(0, str(EXAMPLES))
    try:
        import make_tiny_gguf
        import make_tiny_model
    finally:
        sys.path.remove(str(EXAMPLES))
    make_tiny_model.make(folder / "tiny")
    make_tiny_model.make(folder / "embed", embed=True)
    make_tiny_gguf.make(folder / "tiny", folder / "tiny.gguf")
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_engines: EnginesHere) -> Iterator[LocalTarget]:
    """A local target with the real engines; every deployment is taken down in the end."""
    home = tmp_path_factory.mktemp("home")
    target = LocalTarget(home, real_engines, ModelsOnDisk())
    yield target
    for folder in home.joinpath("local").glob("*"):
        target.down(folder.name, Told())


def ready(target: LocalTarget, name: str) -> str:
    """The address, once the engine is healthy; its log is the failure's message when it ends instead."""

    def healthy() -> str | None:
        seen = target.observe(name)
        log = "\n".join(target.logs(name, follow=False, lines=40))
        assert seen.engine is not EngineState.ENDED, f"{seen.detail}\n{log}"
        return seen.address if get(seen.address)[0] == 200 else None

    return eventually(healthy, within=STARTING, every=0.3) or ""


def all_processes() -> dict[int, Stat]:
    """Every living process of this machine, by number."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {number: stat for number in numbers if (stat := read_stat(number)) is not None}


def client(address: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://{address}/v1", api_key=key, max_retries=0)


def say(address: str, key: str, model: str) -> str:
    """What the model answers, greedily."""
    with client(address, key) as asked:
        answer = asked.chat.completions.create(
            model=model,
            messages=PROMPT,  # type: ignore[arg-type]  # a plain dictionary will do
            max_tokens=12,
            temperature=0,
        )
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    return answer.choices[0].message.content or ""


def check_defaults(address: str) -> None:
    """A request that says nothing gets temperature 0 and 5 tokens; one that says more gets more."""

    def answers(**said: object) -> tuple[set[str | None], set[int]]:
        with client(address, KEYS[0]) as asked:
            found = [
                asked.chat.completions.create(
                    model="tiny",
                    messages=PROMPT,  # type: ignore[arg-type]  # a plain dictionary will do
                    extra_body={"ignore_eos": True, **said},
                )
                for _ in range(4)
            ]
        assert all(one.usage for one in found)
        return (
            {one.choices[0].message.content for one in found},
            {one.usage.completion_tokens for one in found if one.usage},
        )

    greedy, tokens = answers()
    assert (len(greedy), tokens) == (1, {5})
    sampled, tokens = answers(temperature=1.5, max_tokens=40)
    assert len(sampled) > 1
    assert tokens == {40}, "a default is no cap"


@pytest.fixture(scope="module")
def vllm_with_two_keys(real: LocalTarget, checkpoints: Path) -> str:
    """The address of vLLM with the tiny model and two keys; it is called `tiny`."""
    arguments = ("--served-model-name", "tiny", "--enforce-eager", *vllm.QUIET, *KV_CACHE)
    plan = plan_here("tiny", str(checkpoints / "tiny"), arguments=arguments)
    plan = replace(plan, relay_arguments=DEFAULTS)
    real.launch(plan, {"VLLM_API_KEY": Secret(",".join(KEYS))}, Told())
    return ready(real, "tiny")


def test_vllm_answers_either_key_and_nobody_else(real: LocalTarget, vllm_with_two_keys: str) -> None:
    first, second = (say(vllm_with_two_keys, key, "tiny") for key in KEYS)
    assert first == second
    with (
        client(vllm_with_two_keys, "sk-atc-not-this-one") as asked,
        pytest.raises(openai.AuthenticationError),
    ):
        asked.models.list()
    assert get(vllm_with_two_keys, "/v1/models")[0] == 401
    assert [get(vllm_with_two_keys, "/v1/models", key)[0] for key in KEYS] == [200, 200]
    log = "\n".join(real.logs("tiny", follow=False))
    assert "GET /health" not in log, "the relay looks often, and its looks are no news"
    assert [key for key in KEYS if key in log] == []


def test_vllm_keeps_to_the_generation_defaults_unless_asked_otherwise(
    vllm_with_two_keys: str,
) -> None:
    check_defaults(vllm_with_two_keys)


def test_llama_server_answers_either_key_and_says_what_vllm_says(
    real: LocalTarget, checkpoints: Path, vllm_with_two_keys: str
) -> None:
    plan = plan_here(
        "tiny-gguf",
        str(checkpoints / "tiny.gguf"),
        engine=EngineName.LLAMA_CPP,
        arguments=("--alias", "tiny", "--metrics"),
    )
    plan = replace(plan, relay_arguments=DEFAULTS)
    real.launch(plan, {"LLAMA_API_KEY": Secret(",".join(KEYS))}, Told())
    address = ready(real, "tiny-gguf")
    assert get(address, "/v1/chat/completions")[0] == 401
    assert say(address, KEYS[0], "tiny") == say(address, KEYS[1], "tiny")
    assert say(address, KEYS[0], "tiny") == say(vllm_with_two_keys, KEYS[0], "tiny")
    check_defaults(address)
    log = "\n".join(real.logs("tiny-gguf", follow=False))
    assert [key for key in KEYS if key in log] == []
    real.stop("tiny-gguf", Told())
    assert get(address)[0] == 0


def test_vllm_without_its_supervisor_is_seen_and_ended_completely(
    real: LocalTarget, vllm_with_two_keys: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = Folder(real._folder("tiny").path).state()
    assert state is not None
    members = session_members(state.supervisor, state.run)
    every = {pid for pid, stat in all_processes().items() if stat.session == state.supervisor.pid}
    assert {one.pid for one in members} == every - {state.supervisor.pid}
    assert len(members) > 1, "vLLM works with several processes"
    os.kill(state.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not state.supervisor.alive())
    seen = real.observe("tiny")
    assert (seen.machine, seen.engine) == (MachineState.UP, EngineState.ENDED)
    assert (seen.detail or "").startswith("its supervisor was killed")
    real.down("tiny", Told())
    assert [member for member in members if member.alive()] == []
    assert [one for one in all_processes().values() if one.session == state.supervisor.pid] == []
    assert get(vllm_with_two_keys)[0] == 0


def test_vllm_embeds(real: LocalTarget, checkpoints: Path) -> None:
    arguments = ("--served-model-name", "embed", "--runner", "pooling", "--enforce-eager", *KV_CACHE)
    plan = plan_here("embed", str(checkpoints / "embed"), arguments=arguments)
    real.launch(plan, {"VLLM_API_KEY": Secret(KEYS[0])}, Told())
    with client(ready(real, "embed"), KEYS[0]) as asked:
        found = asked.embeddings.create(model="embed", input=["one", "another"], encoding_format="float")
    assert [len(one.embedding) for one in found.data] == [128, 128]
    real.stop("embed", Told())
    assert real.observe("embed").machine is MachineState.STOPPED


def test_vllm_in_the_foreground_says_why_it_cannot_start(real: LocalTarget, tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(EngineFailed, match="holds no model that vLLM can read") as raised:
        real.foreground(plan_here("nothing", str(tmp_path / "nothing"), arguments=KV_CACHE), {}, told)
    assert "config.json" in (raised.value.hint or "")
    assert told.lines


@pytest.mark.parametrize("failure", ["tensors_cut_short", "unknown_architecture", "port_taken"])
def test_llama_server_says_of_a_failure_what_it_said_when_that_was_written_down(
    real_engines: EnginesHere, tmp_path: Path, failure: str
) -> None:
    """A few of them here; `python -m tests.engine_failures` writes all of them anew."""
    server = real_engines.ensure(llama_cpp.PIN, Told())
    ground = Ground(tmp_path)
    with ground.hub, ground.taken:
        text = said("llama-cpp", server, of_llama_cpp(ground)[failure], ground)
    kept = (LOGS / f"llama-cpp-{llama_cpp.PIN.version}" / f"{failure}.txt").read_text()
    assert diagnose(neutral(text, tmp_path)) == diagnose(kept)


def test_an_engine_that_is_there_is_found_at_once(real_engines: EnginesHere) -> None:
    for pin in (vllm.CPU_PIN, llama_cpp.PIN):
        real_engines.ensure(pin, Told())
        told = Told()
        assert os.access(real_engines.ensure(pin, told), os.X_OK)
        assert told == Told()
    assert {one.engine for one in real_engines.installed() if one.complete} == {"vllm", "llama-cpp"}
