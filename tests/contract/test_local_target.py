"""What LocalTarget promises, with real processes: an engine that starts at once, killed in every way."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from llm_atc.access import Secret
from llm_atc.errors import DeploymentError, DeploymentNotFound, EngineError
from llm_atc.ports import EngineState, MachineState, Observation
from llm_atc.targets.local import LocalTarget
from llm_atc.targets.processes import Identity, read_stat
from tests.local_fixtures import ModelsOnDisk, StandInEngines, Told, eventually, get, plan_here, up

KEY = "sk-atc-first-of-two"
SECOND = "sk-atc-second-of-two"


def state_file(home: Path, name: str) -> Path:
    return home / "local" / name / "state.json"


def read_state(home: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(state_file(home, name).read_text())
    return found


def supervisor_pid(home: Path, name: str) -> int:
    supervisor = read_state(home, name)["supervisor"]
    assert isinstance(supervisor, dict)
    return int(supervisor["pid"])


def kill_supervisor(home: Path, name: str) -> None:
    pid = supervisor_pid(home, name)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: read_stat(pid) is None)


def engine_of(target: LocalTarget, name: str) -> int:
    """The engine's process, once the endpoint answers."""
    up(target, name)
    state = target._folder(name).state()
    assert state is not None
    assert state.engine is not None
    return state.engine


def relay_of(home: Path, name: str) -> int:
    return int(str(read_state(home, name)["relay"]))


def child_of(target: LocalTarget, name: str) -> int:
    lines = eventually(lambda: [x for x in target.logs(name, follow=False) if x.startswith("child ")])
    return int(lines[0].split()[1])


def test_a_launched_engine_answers_and_its_folder_is_for_its_user_alone(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one"), {}, told)
    address = up(here, "one")
    seen = here.observe("one")
    assert (seen.machine, seen.engine) == (MachineState.UP, EngineState.RUNNING)
    assert address.startswith("127.0.0.1:")
    assert stat.S_IMODE((local_home / "local" / "one").stat().st_mode) == 0o700


def test_what_was_never_there_is_absent_and_may_be_stopped_and_removed(here: LocalTarget, told: Told) -> None:
    here.stop("ghost", told)
    here.down("ghost", told)
    assert here.observe("ghost") == Observation(machine=MachineState.ABSENT)
    with pytest.raises(DeploymentNotFound):
        here.logs("ghost", follow=False)


def test_stop_keeps_the_deployment_and_launch_brings_it_back(here: LocalTarget, told: Told) -> None:
    plan = plan_here("one")
    here.launch(plan, {}, told)
    address = up(here, "one")
    for _ in range(2):
        here.stop("one", told)
        assert here.observe("one") == Observation(machine=MachineState.STOPPED)
        assert get(address)[0] == 0
    here.launch(plan, {}, told)
    assert up(here, "one") == address


def test_down_leaves_nothing(here: LocalTarget, local_home: Path, told: Told) -> None:
    here.launch(plan_here("one"), {}, told)
    address = up(here, "one")
    here.down("one", told)
    here.down("one", told)
    assert get(address)[0] == 0
    assert here.observe("one").machine is MachineState.ABSENT
    assert list((local_home / "local").iterdir()) == []


def test_a_second_launch_replaces_the_first(here: LocalTarget, told: Told) -> None:
    here.launch(plan_here("one"), {}, told)
    first = engine_of(here, "one")
    here.launch(plan_here("one"), {}, told)
    second = engine_of(here, "one")
    assert first != second
    assert read_stat(first) is None


def test_an_engine_that_ends_by_itself_has_ended_whatever_its_code(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one", BEHAVE="crash"), {}, told)
    eventually(lambda: here.observe("one").engine is EngineState.ENDED)
    seen = here.observe("one")
    assert seen.machine is MachineState.UP
    assert (seen.detail or "").startswith("exited with 3 at ")

    here.launch(plan_here("one"), {}, told)
    os.kill(engine_of(here, "one"), signal.SIGTERM)  # this one exits with 0
    eventually(lambda: here.observe("one").engine is EngineState.ENDED)
    assert (here.observe("one").detail or "").startswith("exited with 0 at ")

    here.stop("one", told)
    assert here.observe("one") == Observation(machine=MachineState.STOPPED)


def test_what_a_dead_engine_left_running_is_ended_too(here: LocalTarget, told: Told) -> None:
    here.launch(plan_here("one", BEHAVE="child"), {}, told)
    engine, child = engine_of(here, "one"), child_of(here, "one")
    os.kill(engine, signal.SIGKILL)
    eventually(lambda: here.observe("one").engine is EngineState.ENDED)
    assert "was killed by SIGKILL" in (here.observe("one").detail or "")
    assert read_stat(child) is None


def test_an_engine_that_ignores_sigterm_is_killed_after_its_grace(here: LocalTarget, told: Told) -> None:
    here.launch(plan_here("one", BEHAVE="deaf,child"), {}, told)
    engine, child = engine_of(here, "one"), child_of(here, "one")
    here.stop("one", told)
    assert read_stat(engine) is None
    assert read_stat(child) is None


def test_the_engine_dies_with_its_supervisor_and_stop_ends_what_survives(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one", BEHAVE="child"), {}, told)
    engine, child = engine_of(here, "one"), child_of(here, "one")
    kill_supervisor(local_home, "one")
    eventually(lambda: read_stat(engine) is None)
    seen = here.observe("one")
    assert (seen.machine, seen.engine) == (MachineState.UP, EngineState.ENDED)
    assert seen.detail == "its supervisor was killed, and 1 of its processes still run"
    here.stop("one", told)
    assert read_stat(child) is None
    assert here.observe("one") == Observation(machine=MachineState.STOPPED)


def test_the_relay_dies_with_its_supervisor_and_the_engine_ends_with_its_relay(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one"), {}, told)
    engine, relay = engine_of(here, "one"), relay_of(local_home, "one")
    kill_supervisor(local_home, "one")
    eventually(lambda: read_stat(engine) is None and read_stat(relay) is None)
    assert here.observe("one").detail == "its supervisor was killed"

    here.launch(plan_here("one"), {}, told)
    engine, relay = engine_of(here, "one"), relay_of(local_home, "one")
    os.kill(relay, signal.SIGKILL)
    eventually(lambda: here.observe("one").engine is EngineState.ENDED)
    assert here.observe("one").detail == "was ended: its relay ended with -9"
    assert read_stat(engine) is None


def test_the_engine_cannot_be_reached_past_its_relay_without_a_key_of_its_own(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one"), {"VLLM_API_KEY": Secret(KEY)}, told)
    up(here, "one")
    behind = f"127.0.0.1:{read_state(local_home, 'one')['engine_port']}"
    assert [get(behind, "/v1/models", key)[0] for key in (None, KEY)] == [401, 401]


def test_the_engines_log_is_written_to_a_file_of_the_users_as_well(
    here: LocalTarget, tmp_path: Path, told: Told
) -> None:
    copy = tmp_path / "engine.log"
    here.launch(replace(plan_here("one"), log_file=str(copy)), {}, told)
    up(here, "one")
    eventually(lambda: copy.exists() and "Application startup complete." in copy.read_text())
    assert copy.read_text().splitlines() == list(here.logs("one", follow=False))


def test_an_endpoint_may_listen_on_every_address_and_is_reached_by_the_loopback(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(replace(plan_here("one"), host="0.0.0.0"), {}, told)
    port = up(here, "one").removeprefix("127.0.0.1:")
    assert get(f"127.0.0.2:{port}")[0] == 200
    assert get(f"127.0.0.2:{read_state(local_home, 'one')['engine_port']}")[0] == 0


@pytest.mark.parametrize("form", ["path", "words", "docker"])
def test_what_the_user_runs_instead_of_the_pinned_engine_is_run(
    form: str, local_home: Path, stand_in: str, tmp_path: Path, told: Told
) -> None:
    docker = tmp_path / "docker"
    argv = tmp_path / "argv"
    # Stands in for docker: writes down what it is told, and starts the engine where the image would.
    docker.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {argv}\n'
        'while [ "$1" != IMAGE ]; do shift; done\nshift\n'
        f'exec {stand_in} serve "$@"\n'
    )
    docker.chmod(0o755)
    words = {
        "path": (stand_in,),
        "words": (sys.executable, "-I", stand_in),
        "docker": (str(docker), "run", "--gpus", "all", "IMAGE"),
    }[form]
    target = LocalTarget(local_home, StandInEngines("/nowhere/vllm"), ModelsOnDisk(), grace=1.0)
    plan = replace(plan_here("one", location=str(tmp_path), HF_HOME="/x"), executable=words)
    target.launch(plan, {"HF_TOKEN": Secret("hf_secret_value")}, told)
    up(target, "one")
    if form == "docker":
        written = argv.read_text().splitlines()
        assert written[:5] == ["run", "--rm", "--init", "--network", "host"]
        assert written[5:7] == ["--volume", f"{tmp_path}:{tmp_path}:ro"]
        assert written[7:13] == ["--env", "HF_HOME", "--env", "HF_TOKEN", "--env", "VLLM_API_KEY"]
        assert written[13:17] == ["--gpus", "all", "IMAGE", str(tmp_path)]
        assert "hf_secret_value" not in written
    target.down("one", told)


def test_after_a_restart_of_the_machine_nobody_elses_process_is_taken_for_ours(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one"), {}, told)
    up(here, "one")
    kill_supervisor(local_home, "one")
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        identity = Identity.of(stranger.pid)
        assert identity is not None
        said = {"pid": stranger.pid, "start": identity.start, "boot": "another-boot"}
        state = read_state(local_home, "one") | {"supervisor": said}
        state_file(local_home, "one").write_text(json.dumps(state))
        seen = here.observe("one")
        assert (seen.machine, seen.engine) == (MachineState.STOPPED, EngineState.ENDED)
        assert seen.detail == "this machine was restarted"
        here.down("one", told)
        assert stranger.poll() is None
        stranger.kill()


def test_a_number_that_passed_on_to_another_session_is_left_alone(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one"), {}, told)
    up(here, "one")
    kill_supervisor(local_home, "one")
    # A session of somebody else's with the supervisor's number, whose leader has ended.
    script = "sleep 600 & echo $!"
    with subprocess.Popen(
        ["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        stranger = int(shell.stdout.readline())
        shell.wait()
        said = {
            "pid": shell.pid,
            "start": 1,
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        }
        state = read_state(local_home, "one") | {"supervisor": said}
        state_file(local_home, "one").write_text(json.dumps(state))
        here.down("one", told)
        assert read_stat(stranger) is not None
        os.kill(stranger, signal.SIGKILL)


def test_a_port_that_was_asked_for_and_is_taken_is_refused_by_name(here: LocalTarget, told: Told) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=rf"Port {port} is taken by .* \(pid {os.getpid()}\)") as raised:
            here.launch(plan_here("one", port=port), {}, told)
    assert (raised.value.hint or "").startswith("--port ")
    assert here.observe("one").machine is MachineState.ABSENT


def test_two_deployments_never_get_the_same_port(here: LocalTarget, told: Told) -> None:
    for name in ("one", "two"):
        here.launch(plan_here(name), {}, told)
    assert here.observe("one").address != here.observe("two").address
    port = int((here.observe("one").address or "").rpartition(":")[2])
    with pytest.raises(EngineError, match=f"Port {port} is taken by the deployment one"):
        here.launch(plan_here("three", port=port), {}, told)


@pytest.mark.parametrize("keys", [(KEY,), (KEY, SECOND)])
def test_keys_lock_the_engine_and_stay_in_no_file(
    here: LocalTarget, local_home: Path, told: Told, keys: tuple[str, ...]
) -> None:
    secrets = {"VLLM_API_KEY": Secret(",".join(keys)), "HF_TOKEN": Secret("hf_secret_value")}
    here.launch(plan_here("one"), secrets, told)
    address = up(here, "one")
    assert get(address, "/v1/models")[0] == 401
    assert [get(address, "/v1/models", key)[0] for key in keys] == [200] * len(keys)
    folder = local_home / "local" / "one"
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    state = read_state(local_home, "one")
    started = b"".join(Path(f"/proc/{state[who]}/cmdline").read_bytes() for who in ("engine", "relay"))
    for value in (*keys, "hf_secret_value"):
        assert value.encode() not in written
        assert value.encode() not in started


def test_the_log_is_bounded_and_its_last_lines_are_there(
    here: LocalTarget, local_home: Path, told: Told
) -> None:
    here.launch(plan_here("one", BEHAVE="talk"), {}, told)
    up(here, "one")
    folder = local_home / "local" / "one"
    sizes = {path.name: path.stat().st_size for path in folder.glob("engine.log*")}
    assert sorted(sizes) == ["engine.log", "engine.log.1", "engine.log.2"]
    assert max(sizes.values()) <= 8192 + 100
    lines = list(here.logs("one", follow=False))
    numbers = [int(line.split()[0]) for line in lines if line.endswith("xxx")]
    assert numbers == list(range(numbers[0], 400))
    assert list(here.logs("one", follow=False, lines=2)) == lines[-2:]


def test_followed_logs_go_on_until_the_engine_ends(here: LocalTarget, told: Told) -> None:
    here.launch(plan_here("one", BEHAVE="talk"), {}, told)
    up(here, "one")
    following = here.logs("one", follow=True, lines=2)
    assert [next(following), next(following)] == ["up with 1 keys", "Application startup complete."]
    here.stop("one", told)
    assert list(following) == []


def test_down_cancels_a_launch_that_still_copies_the_model(
    local_home: Path, stand_in: str, told: Told
) -> None:
    copying, go_on = threading.Event(), threading.Event()

    def copy() -> None:
        copying.set()
        go_on.wait(20)

    slow = LocalTarget(local_home, StandInEngines(stand_in), ModelsOnDisk(copy))
    errors: list[BaseException] = []

    def launch() -> None:
        try:
            slow.launch(plan_here("one"), {}, told)
        except DeploymentError as error:
            errors.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    assert copying.wait(20)
    assert slow.observe("one").machine is MachineState.STARTING
    slow.down("one", told)
    go_on.set()
    thread.join()
    assert len(errors) == 1
    assert slow.observe("one").machine is MachineState.ABSENT


def test_an_executable_that_cannot_run_is_named(local_home: Path, told: Told) -> None:
    target = LocalTarget(local_home, StandInEngines("/nowhere/vllm"), ModelsOnDisk())
    with pytest.raises(EngineError, match="No such file or directory: '/nowhere/vllm'"):
        target.launch(plan_here("one"), {}, told)
    assert target.observe("one").engine is EngineState.ENDED


def test_a_removed_folder_ends_the_engine(here: LocalTarget, local_home: Path, told: Told) -> None:
    here.launch(plan_here("one"), {}, told)
    address = up(here, "one")
    folder = local_home / "local" / "one"
    folder.rename(local_home / "elsewhere")
    eventually(lambda: get(address)[0] == 0)
