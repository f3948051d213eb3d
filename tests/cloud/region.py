"""The region's process: ``python -m tests.cloud.region --session DIR --layers LOWERDIR``.

It says on stdout, as one line of JSON, where it is (see ``Ready``), and runs until SIGTERM, SIGINT or the
end of its standard input, so that it never outlives the tests that hold the other end. Then every machine
is gone, and every process of the session with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import itertools
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cloud.cloud_storage import CloudStorage
from tests.cloud.control import Control
from tests.cloud.instance import InstanceFacts
from tests.cloud.machine import Host, Machine
from tests.cloud.moto_region import MotoRegion
from tests.cloud.network import listen
from tests.cloud.session import Session

LOOK_SECONDS = 0.2  # security groups change without a hook, so the instances are looked at this often
CLAIM_PORT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Where the region answers: AWS's interface and Google Cloud Storage's, both at 127.0.0.1."""

    aws_port: int
    gcs_port: int
    network: str


class Region:
    """Keeps a machine for each instance as the instance says, looking again and again."""

    def __init__(self, session: Session, layers: str, storage: CloudStorage) -> None:
        self._session = session
        self._started = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._look = asyncio.Event()
        self._claim, network = _claim_network()
        self._aws = MotoRegion(session.machines, session.control, _hosts(network), self._wake, self.log)
        self._storage = storage
        self.ready = Ready(aws_port=self._aws.port, gcs_port=storage.port, network=str(network))
        (session.home / ".boto").write_text(storage.gsutil_configuration(str(storage.certificate)))
        environment = {
            "AWS_ENDPOINT_URL": self._aws.endpoint,  # as DNS does on a real machine: clients find this region
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage.port}",
            # What stands in for the GPU is vLLM's CPU build: it has no compiler here, must not take nearly
            # all memory for its cache, and need not warm up.
            "TORCH_COMPILE_DISABLE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_CI_ENV": "1",
        }
        self._host = Host(
            layers=layers,
            ssh_environment=environment,
            files={
                "etc/boto.cfg": storage.gsutil_configuration("/etc/storage.pem"),
                "etc/storage.pem": storage.certificate.read_text(),
            },
            assume_role=self._aws.assume_role,
            powered_off=self._aws.powered_off,
            log=self.log,
        )
        self._services = frozenset({self._aws.port, storage.port, storage.tls_port})
        self._machines: dict[str, Machine] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}

    def log(self, line: str) -> None:
        """Write a line with the seconds since the start; from any thread."""
        print(f"[{time.monotonic() - self._started:8.2f}] {line}", file=sys.stderr, flush=True)

    async def run(self, until: asyncio.Event) -> None:
        """Follow the instances until the event is set; then destroy all machines."""
        ended = asyncio.create_task(until.wait())
        while not ended.done():
            self._look.clear()
            exposed = self._services | frozenset(Control.read(self._session.control).exposed)
            for facts in self._aws.instances():
                if facts.id not in self._busy and (facts.id in self._machines or facts.state != "terminated"):
                    self._busy[facts.id] = asyncio.create_task(self._follow(facts, exposed))
            woken = asyncio.create_task(self._look.wait())
            await asyncio.wait({ended, woken}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            woken.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        await asyncio.gather(*(machine.destroy() for machine in self._machines.values()))
        self._aws.stop()
        self._claim.close()
        self.log("the region is gone")

    async def _follow(self, facts: InstanceFacts, exposed: frozenset[int]) -> None:
        try:
            machine = self._machines.get(facts.id)
            if facts.state == "terminated":
                if machine is not None:
                    await machine.destroy()
                    del self._machines[facts.id]
                return
            if machine is None:
                machine = self._machines[facts.id] = Machine(
                    facts, self._session.machines / facts.id, self._host
                )
            await machine.follow(facts, exposed)
        except Exception as error:  # noqa: BLE001 - one broken machine must not end the region
            self.log(f"error {facts.id}: {error!r}")
        finally:
            del self._busy[facts.id]

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._look.set)


def _claim_network() -> tuple[socket.socket, ipaddress.IPv4Network]:
    """A /24 of loopback addresses that no other region here uses, as long as the socket is open."""
    octets = list(range(256))
    random.shuffle(octets)
    for octet in octets:
        with contextlib.suppress(OSError):
            network = ipaddress.IPv4Network(f"127.77.{octet}.0/24")
            return listen(str(network[1]), CLAIM_PORT), network
    raise RuntimeError("every network of 127.77.0.0/16 is taken by another region")


def _hosts(network: ipaddress.IPv4Network) -> Iterator[str]:
    """Public addresses, each start another, and the oldest again when all were used."""
    return map(str, itertools.cycle(list(network.hosts())[1:]))


async def serve(session: Session, layers: str) -> None:
    """Run the region until it is told to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    threading.Thread(target=_watch_input, args=(loop, ended), daemon=True).start()
    region = Region(session, layers, await CloudStorage.start(session.machines))
    print(json.dumps(asdict(region.ready)), flush=True)
    await region.run(ended)


def _watch_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(0, 1024):
        pass
    with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
        loop.call_soon_threadsafe(ended.set)


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.cloud.region")
    parser.add_argument("--session", type=Path, required=True, help="a directory made by tests.cloud.session")
    parser.add_argument("--layers", required=True, help="the image, as overlayfs's lowerdir")
    arguments = parser.parse_args()
    session = Session(arguments.session)
    with session.held():
        try:
            asyncio.run(serve(session, arguments.layers))
        finally:
            session.remove()
    os._exit(0)  # moto's and the storage's threads hold nothing worth waiting for


if __name__ == "__main__":
    main()
