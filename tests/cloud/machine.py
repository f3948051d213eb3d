"""One machine: a tree of processes in namespaces of its own, over a disk of its own, behind relayed ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cloud import metadata
from tests.cloud.catalog import gpus_of
from tests.cloud.instance import InstanceFacts
from tests.cloud.metadata import AssumeRole, MetadataService
from tests.cloud.network import NetworkNamespace, Streams, listen, relay
from tests.cloud.user_data import first_boot_script

INIT = Path(__file__).with_name("machine_init.sh")
BOOT_SECONDS = 60.0
POWERED_OFF = -signal.SIGINT  # how a pid namespace ends in which somebody powers off; SIGHUP after a reboot
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  "--query-gpu=name,memory.total --format=csv,noheader,nounits") cat <<'END'
{gpus}
END
  ;;
  *) echo "this machine has no GPU, it only says so: $*" >&2; exit 9 ;;
esac
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What every machine of a region gets.

    ``layers`` is the image, as overlayfs's lowerdir; ``ssh_environment`` what each SSH session has;
    ``files`` what a new disk has in addition, by path below the root. ``powered_off`` is told the instance
    whose own system powered it off.
    """

    layers: str
    ssh_environment: Mapping[str, str]
    files: Mapping[str, str]
    assume_role: AssumeRole
    powered_off: Callable[[str], None]
    log: Callable[[str], None]


@dataclass(slots=True)
class _Running:
    process: asyncio.subprocess.Process
    network: NetworkNamespace
    starts: int
    inward: dict[tuple[str, int], asyncio.Server]  # public address and port, open to the outside
    outward: dict[int, asyncio.Server]  # ports of this machine's loopback, seen inside at the same port


class Machine:
    """Boots, halts and destroys what stands behind one instance. Its calls must not overlap."""

    def __init__(self, facts: InstanceFacts, directory: Path, host: Host) -> None:
        self._facts = facts
        self._directory = directory
        self._host = host
        self._running: _Running | None = None

    async def follow(self, facts: InstanceFacts, exposed: frozenset[int]) -> None:
        """Make the machine what the instance says: on or off, ports open or closed. Cheap when it is so."""
        self._facts = facts
        on = facts.state in ("pending", "running")
        if self._running and not (on and self._alive() and self._running.starts == facts.starts):
            by_itself = on and self._running.process.returncode == POWERED_OFF
            await self.halt()
            if by_itself:
                self._host.powered_off(facts.id)
                return
        if on and not self._running:
            self._running = await self._boot(facts)
        if self._running:
            await self._open_outward(self._running, exposed)
            await self._open_inward(self._running, facts)

    async def halt(self) -> None:
        """Power off: every process ends and every port closes; the disk stays. Quiet when it is off."""
        running, self._running = self._running, None
        if running is None:
            return
        for server in (*running.inward.values(), *running.outward.values()):
            server.close()
        await _kill(running.process)
        running.network.close()
        self._host.log(f"halt {self._facts.id}")

    async def destroy(self) -> None:
        """Power off and erase the disk."""
        await self.halt()
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        self._host.log(f"destroy {self._facts.id}")

    def _alive(self) -> bool:
        return self._running is not None and self._running.process.returncode is None

    async def _boot(self, facts: InstanceFacts) -> _Running:
        started = time.monotonic()
        disk = self._directory / "disk"
        if not disk.exists():
            first_boot = {"var/lib/first-boot.sh": first_boot_script(facts.user_data)}
            for path, content in (first_boot | dict(self._host.files)).items():
                file = disk / "upper" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
            _put_nvidia_smi(disk / "upper", facts.instance_type)
        with (self._directory / "console.log").open("ab") as console:
            process = await asyncio.create_subprocess_exec(
                *_isolated(),
                *("/bin/bash", str(INIT)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=console,
                start_new_session=True,
                env=self._boot_environment(facts, disk),
            )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                said = await process.stdout.readline()
            if said.strip() != b"booted":
                raise RuntimeError(f"{facts.id} did not boot: see {self._directory / 'console.log'}")
            network = NetworkNamespace(process.pid)
        except BaseException:
            await _kill(process)
            raise
        running = _Running(process, network, facts.starts, {}, {})
        service = MetadataService(lambda: self._facts, self._host.assume_role)
        listener = await network.listen(*metadata.ADDRESS)
        running.outward[0] = await asyncio.start_server(service.serve, sock=listener)
        took = f"{time.monotonic() - started:.2f} s"
        self._host.log(f"boot {facts.id} {facts.instance_type} {facts.zone} {facts.public_ip} in {took}")
        return running

    def _boot_environment(self, facts: InstanceFacts, disk: Path) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "ROOT": str(self._directory / "root"),
            "DISK": str(disk),
            "LAYERS": self._host.layers,
            "NAME": facts.hostname,
            "IP": facts.private_ip,
            "METADATA_IP": metadata.ADDRESS[0],
            "SSH_ENVIRONMENT": " ".join(
                f"{name}={value}" for name, value in self._host.ssh_environment.items()
            ),
        }

    async def _open_outward(self, running: _Running, exposed: frozenset[int]) -> None:
        for port in exposed - running.outward.keys():

            async def dial(port: int = port) -> Streams:
                return await asyncio.open_connection("127.0.0.1", port)

            listener = await running.network.listen("127.0.0.1", port)
            running.outward[port] = await relay(dial, listener=listener)

    async def _open_inward(self, running: _Running, facts: InstanceFacts) -> None:
        wanted = {(facts.public_ip, port) for port in facts.open_ports} if facts.public_ip else set()
        for address in running.inward.keys() - wanted:
            running.inward.pop(address).close()
            self._host.log(f"close {facts.id} {address[0]}:{address[1]}")
        for host, port in wanted - running.inward.keys():

            async def dial(port: int = port) -> Streams:
                return await running.network.connect(facts.private_ip, port)

            running.inward[host, port] = await relay(dial, listener=listen(host, port))
            self._host.log(f"open {facts.id} {host}:{port}")


def _put_nvidia_smi(root: Path, instance_type: str) -> None:
    """What a machine sold with GPUs answers when it is asked for them; it has no other command for it."""
    lines = gpus_of(instance_type)
    if lines:
        program = root / "usr" / "local" / "bin" / "nvidia-smi"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(NVIDIA_SMI.format(gpus="\n".join(lines)))
        program.chmod(0o755)


def _isolated() -> list[str]:
    """The command that starts a machine: it dies with this process, and all within it dies with its first.

    A time namespace of its own makes the boot time this boot's, not the host's: by the boot time SkyPilot's
    agent tells an autostop that was armed before the last stop from one armed since.
    """
    uptime = int(time.clock_gettime(time.CLOCK_MONOTONIC))
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--net", "--uts", "--ipc"),
        *("--time", "--boottime", f"-{uptime}", "--monotonic", f"-{uptime}", "--"),
    ]


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the machine's first process, and return when the kernel has ended all the others too."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        if not children:
            process.kill()
    await process.wait()
