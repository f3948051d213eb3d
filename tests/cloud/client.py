"""A simulated region as tests see it: an environment for ``sky`` and ``llm-atc``, a hand on the clouds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import yaml

from tests.cloud import catalog
from tests.cloud.control import Control
from tests.cloud.image import Image, cache_dir, ensure_image, install_host_tools
from tests.cloud.moto_region import ACCESS_KEY, SECRET_KEY
from tests.cloud.network import free_port
from tests.cloud.session import MARK, Session

HERE = Path(__file__).parent
KEPT = ("LANG", "LC_ALL", "TERM", "TZ", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "TMPDIR")
KEPT_PREFIXES = ("PIP_", "UV_", "COVERAGE_")
TIMEOUT = 300.0
END_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine as its cloud lists it; ``cluster`` is its name there, which ends in the user's hash."""

    id: str
    cloud: str
    state: str
    instance_type: str
    zone: str
    public_ip: str | None
    cluster: str
    spot: bool


class SimulatedRegion:
    """A running region, with a home of its own that has an account's keys, the catalogue and the plug-ins."""

    def __init__(
        self, session: Session, process: subprocess.Popen[str], ready: Mapping[str, Any], image: Image
    ) -> None:
        self.home: Path = session.home
        self.pid = process.pid
        self.log_path: Path = session.log
        self.network: str = ready["network"]
        self.endpoint = f"http://127.0.0.1:{ready['aws_port']}"
        self.storage_endpoint = f"http://127.0.0.1:{ready['gcs_port']}"
        self.api_port = free_port()
        self._session = session
        self._control = Control()
        self.env: dict[str, str] = self._environment()
        _furnish(self.home, self.endpoint, session.control, image)

    def run(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        timeout: float = TIMEOUT,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the region's user; on failure the error has its output in it.

        ``env`` adds to the environment. Raises ``CommandFailed`` unless ``check`` is false.
        """
        done = subprocess.run(
            argv,
            env={**self.env, **(env or {})},
            cwd=cwd or self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            command = " ".join(map(str, argv))
            raise CommandFailed(f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def ssh(self, cluster: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a cluster's first machine, over SSH."""
        generated = self.home / ".sky" / "generated"  # ssh itself takes ~ from passwd, not from HOME
        key = generated / "ssh-keys" / f"{cluster}.key"
        return self.run("ssh", "-i", key, "-F", generated / "ssh" / cluster, cluster, command, check=check)

    def s3(self) -> Any:
        """A boto3 client of the simulated S3."""
        return self.aws("s3")

    def gcs(self) -> Any:
        """A google-cloud-storage client of the simulated Google Cloud Storage."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # it would like gRPC, which storage needs not
            from google.auth.credentials import AnonymousCredentials
            from google.cloud import storage

        return storage.Client(
            project="simulated-project",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call,unused-ignore]
            client_options={"api_endpoint": self.storage_endpoint},
        )

    def aws(self, service: str, region: str = "us-east-1") -> Any:
        """A boto3 client of any simulated AWS service (EC2, IAM, STS, S3)."""
        import boto3

        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def instances(self, *states: str) -> tuple[Instance, ...]:
        """Machines of all regions and clouds that are not terminated, or those in these states."""
        found = []
        for region in (*catalog.AWS_ZONES, catalog.GCP_BACKING_REGION):
            for reservation in self.aws("ec2", region).describe_instances()["Reservations"]:
                found += [_instance(each) for each in reservation["Instances"]]
        if states:
            return tuple(each for each in found if each.state in states)
        return tuple(each for each in found if each.state != "terminated")

    def terminate(self, instance_id: str) -> None:
        """Take a machine away behind its user's back, as a cloud preempts one."""
        self._where(instance_id).terminate_instances(InstanceIds=[instance_id])

    def reboot(self, instance_id: str) -> None:
        """Boot a machine anew behind its user's back: same disk, same address, no process of before."""
        self._where(instance_id).reboot_instances(InstanceIds=[instance_id])

    def _where(self, instance_id: str) -> Any:
        """A client of EC2 in the instance's region."""
        for region in (*catalog.AWS_ZONES, catalog.GCP_BACKING_REGION):
            ec2 = self.aws("ec2", region)
            with contextlib.suppress(ec2.exceptions.ClientError):
                ec2.describe_instances(InstanceIds=[instance_id])
                return ec2
        raise LookupError(f"no instance {instance_id}")

    @contextlib.contextmanager
    def faults(
        self, *, no_capacity: Sequence[str] = (), quotas: tuple[tuple[str, float], ...] = ()
    ) -> Iterator[None]:
        """Within the block these regions, zones or instance types are sold out, on AWS as on GCP, and these
        quotas of AWS, by their codes, allow so many vCPUs."""
        before = self._control
        sold_out = (*before.no_capacity, *no_capacity)
        self._tell(replace(before, no_capacity=sold_out, quotas=(*before.quotas, *quotas)))
        try:
            yield
        finally:
            self._tell(replace(self._control, no_capacity=before.no_capacity, quotas=before.quotas))

    def expose(self, port: int) -> None:
        """Show a server at this machine's 127.0.0.1 to the simulated ones, at the same port of their own."""
        self._tell(replace(self._control, exposed=(*self._control.exposed, port)))

    def processes(self) -> list[int]:
        """Ids of the processes that clients started and that still run, the API server's among them."""
        return self._session.processes()

    def _tell(self, control: Control) -> None:
        control.write(self._session.control)
        self._control = control

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in KEPT or name.startswith(KEPT_PREFIXES)
        }
        system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": f"{self.home / 'bin'}:{Path(sys.executable).parent}:{system}",
            "PYTHONPATH": str(self.home / "python"),  # the API server's plug-ins
            MARK: self._session.id,
            "SKYPILOT_API_SERVER_LOCAL_PORT": str(self.api_port),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            "STORAGE_EMULATOR_HOST": self.storage_endpoint,
        }


class CommandFailed(AssertionError):
    """A command run for a test failed; the text has what it printed."""


@contextlib.contextmanager
def simulated_region(*, api_server: bool = True) -> Iterator[SimulatedRegion]:
    """A region, with SkyPilot's API server running for it; in the end nothing of it is left."""
    install_host_tools()
    image = ensure_image()
    session = Session.create(cache_dir())
    with session.log.open("w") as log:
        process = _start(session, image, log)
        try:
            region = SimulatedRegion(session, process, _ready(process, session), image)
            if api_server:
                region.run("sky", "api", "start")
            yield region
            if api_server:
                region.run("sky", "api", "stop", check=False)
        finally:
            process.terminate()
            process.communicate(timeout=END_SECONDS)
            session.remove()


def _start(session: Session, image: Image, log: TextIO) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.cloud.region", "--session", str(session.directory)]
    return subprocess.Popen(
        [*command, "--layers", image.lowerdir],
        cwd=HERE.parent.parent,
        stdin=subprocess.PIPE,  # its end tells the region that the tests are gone
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )


def _ready(process: subprocess.Popen[str], session: Session) -> Mapping[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the region did not start:\n{session.log.read_text()}")
    ready: Mapping[str, Any] = json.loads(line)
    return ready


def _furnish(home: Path, endpoint: str, control: Path, image: Image) -> None:
    """Write what a user's home has: keys, the catalogue, SkyPilot's configuration."""
    aws, sky = home / ".aws", home / ".sky"
    aws.mkdir()
    sky.mkdir()
    (aws / "credentials").write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    (aws / "config").write_text(f"[default]\nregion = us-east-1\nendpoint_url = {endpoint}\n")
    catalog.write_catalog(home)
    shutil.copytree(
        image.wheels, sky / "wheels", copy_function=shutil.copy
    )  # else each session builds it anew
    (home / "bin").mkdir()
    (home / "bin" / "gsutil").symlink_to(image.gsutil)
    (home / "bin" / "gcloud").symlink_to("/bin/true")  # SkyPilot wants it to be there, and asks it nothing
    (home / "python").mkdir()
    (home / "python" / "sky_plugins").symlink_to(HERE / "sky_plugins")
    gcp = {"endpoint": endpoint, "region": catalog.GCP_BACKING_REGION, "control": str(control)}
    plugins = [
        {"class": "sky_plugins.simulated_clouds.Connected", "parameters": {"endpoint": endpoint}},
        {"class": "sky_plugins.simulated_clouds.SimulatedGcp", "parameters": gcp},
        {"class": "sky_plugins.simulated_clouds.Unhurried"},
    ]
    (sky / "plugins.yaml").write_text(yaml.safe_dump({"plugins": plugins}))


def _instance(described: Mapping[str, Any]) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    on_gcp = "gcp-cluster" in tags
    return Instance(
        id=described["InstanceId"],
        cloud="gcp" if on_gcp else "aws",
        state=described["State"]["Name"],
        instance_type=tags["gcp-machine-type"] if on_gcp else described["InstanceType"],
        zone=tags["gcp-zone"] if on_gcp else described["Placement"]["AvailabilityZone"],
        public_ip=described.get("PublicIpAddress"),
        cluster=tags.get("gcp-cluster") or tags.get("skypilot-cluster-name", ""),
        spot=described.get("InstanceLifecycle") == "spot",
    )
