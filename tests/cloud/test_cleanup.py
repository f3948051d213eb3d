"""A simulated region leaves nothing behind, however it ends. Without SkyPilot: these take seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cloud.client import SimulatedRegion, simulated_region
from tests.cloud.session import Session

PROJECT = Path(__file__).parents[2]

pytestmark = [pytest.mark.usefixtures("machines_can_be_simulated")]


def test_after_a_session_neither_processes_nor_mounts_nor_files_are_left() -> None:
    with simulated_region(api_server=False) as region:
        directory = region.log_path.parent
        address = run_machine(region)
        client = subprocess.Popen(["sleep", "300"], env=region.env)
        assert answers(address)
        assert processes_of(directory)
        assert client.pid in region.processes()
    assert client.wait() != 0
    assert not answers(address)
    assert not processes_of(directory)
    assert str(directory) not in Path("/proc/mounts").read_text()
    assert not directory.exists()


def test_machines_die_with_a_region_that_is_killed() -> None:
    with simulated_region(api_server=False) as region:
        directory = region.log_path.parent
        run_machine(region)
        os.kill(region.pid, signal.SIGKILL)
        wait_until(lambda: not processes_of(directory))
    assert not directory.exists()


def test_the_next_session_removes_what_a_killed_one_left() -> None:
    with abandoned_session() as directory:
        assert directory.exists()
        with simulated_region(api_server=False):
            assert not directory.exists()


def test_tests_that_are_killed_leave_neither_region_nor_api_server() -> None:
    code = (
        "import time; from tests.cloud.client import simulated_region\n"
        "with simulated_region() as region:\n"
        "    region.run('sky', 'status')\n"  # makes the server start workers
        "    print(region.home, flush=True); time.sleep(600)\n"
    )
    tests = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert tests.stdout is not None
    session = Session(Path(tests.stdout.readline().strip()).parent)
    assert len(session.processes()) > 1
    tests.kill()
    tests.communicate()
    wait_until(lambda: not session.directory.exists(), seconds=30)
    assert session.processes() == []


def test_two_regions_live_side_by_side() -> None:
    with simulated_region(api_server=False) as one, simulated_region(api_server=False) as other:
        assert one.network != other.network
        assert run_machine(one) != run_machine(other)
        assert len(one.instances()) == len(other.instances()) == 1


@contextlib.contextmanager
def abandoned_session() -> Iterator[Path]:
    """The directory of a session whose tests and region were both killed, a client of it still running."""
    with contextlib.ExitStack() as stack:
        region = stack.enter_context(simulated_region(api_server=False))
        directory = region.log_path.parent
        client = subprocess.Popen(["sleep", "300"], env=region.env)
        os.kill(region.pid, signal.SIGKILL)
        os.waitid(os.P_PID, region.pid, os.WEXITED | os.WNOWAIT)
        yield directory
        assert client.wait(timeout=10) != 0


def run_machine(region: SimulatedRegion) -> str:
    """Run an instance as any AWS client does, and give its address when it answers at the SSH port."""
    ec2 = region.aws("ec2")
    group = ec2.create_security_group(GroupName="ssh", Description="SSH")["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
    )
    image = ec2.describe_images()["Images"][0]["ImageId"]
    ec2.run_instances(
        ImageId=image, InstanceType="m6i.large", MinCount=1, MaxCount=1, SecurityGroupIds=[group]
    )
    (machine,) = region.instances("running")
    assert machine.public_ip is not None
    wait_until(lambda: answers(machine.public_ip))
    return machine.public_ip


def answers(address: str | None) -> bool:
    """Whether an SSH server greets at this address."""
    try:
        with socket.create_connection((address or "", 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def processes_of(directory: Path) -> list[int]:
    """Processes of machines whose disks are in this session's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if f"DISK={directory}/".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 15) -> None:
    """Return when it holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)
