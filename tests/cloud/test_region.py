"""The simulated region keeps its promises to the real SkyPilot, before anything of ours is launched on it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.make_tiny_model import make
from tests.cloud.client import SimulatedRegion

WEB = {
    "resources": {"infra": "aws/us-east-1", "accelerators": "L4:1", "ports": [8000, 8001]},
    "file_mounts": {"/checkpoint": "s3://models/tiny", "/notes": "gs://notes/2026"},
    "run": "echo $SKYPILOT_NUM_GPUS_PER_NODE GPU > index.html; exec python3 -u -m http.server 8000",
}
ON_GCP = {
    "resources": {"infra": "gcp/us-central1", "accelerators": "L4:1", "ports": 8000},
    "run": "echo from $(whoami) > index.html; exec python3 -u -m http.server 8000",
}
VLLM = (
    "exec ~/.llm-atc/engines/vllm-0.32.0/bin/vllm serve /checkpoint --served-model-name tiny "
    "--host 0.0.0.0 --port 8001"
)


@pytest.fixture(scope="module")
def web(region: SimulatedRegion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that serves a page, launched while the first zone is sold out; its files come from S3."""
    checkpoint = tmp_path_factory.mktemp("tiny")
    make(checkpoint)
    s3 = region.s3()
    s3.create_bucket(Bucket="models")
    for file in checkpoint.iterdir():
        s3.upload_file(str(file), "models", f"tiny/{file.name}")
    region.gcs().create_bucket("notes").blob("2026/november.txt").upload_from_string("fog")
    with region.faults(no_capacity=["us-east-1a"]):
        launch(region, "web", WEB)
    yield "web"
    region.run("sky", "down", "-y", "web", check=False)


def test_a_launched_task_answers_at_its_endpoint(region: SimulatedRegion, web: str) -> None:
    endpoint = region.run("sky", "status", "--endpoint", "8000", web).stdout.strip()
    assert endpoint == address(region)
    assert read(f"http://{endpoint}/") == b"1 GPU\n"


def test_its_logs_can_be_read(region: SimulatedRegion, web: str) -> None:
    read(f"http://{address(region)}/")
    assert "Serving HTTP on 0.0.0.0 port 8000" in region.run("sky", "logs", web, "1", "--no-follow").stdout


def test_a_zone_that_is_sold_out_is_passed_over(region: SimulatedRegion, web: str) -> None:
    assert [machine.zone for machine in region.instances("running")] == ["us-east-1b"]
    assert "no capacity for g6.xlarge in us-east-1a" in region.log_path.read_text()


def test_files_of_a_bucket_are_on_the_machine(region: SimulatedRegion, web: str) -> None:
    listed = region.ssh(web, "ls /checkpoint").stdout.split()
    assert listed == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def test_files_of_google_cloud_storage_are_on_the_machine(region: SimulatedRegion, web: str) -> None:
    assert region.ssh(web, "cat /notes/november.txt").stdout == "fog"


def test_only_ports_that_the_security_group_opens_can_be_reached(region: SimulatedRegion, web: str) -> None:
    (machine,) = region.instances("running")
    region.ssh(web, "nohup python3 -m http.server 9000 > /dev/null 2>&1 &")
    wait_until(lambda: region.ssh(web, "curl -sf http://127.0.0.1:9000/", check=False).returncode == 0)
    assert refuses(f"http://{machine.public_ip}:9000/")

    ec2 = region.aws("ec2")
    rule = {"IpProtocol": "tcp", "FromPort": 9000, "ToPort": 9000, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    described = ec2.describe_instances(InstanceIds=[machine.id])["Reservations"][0]["Instances"][0]
    group = described["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    wait_until(lambda: not refuses(f"http://{machine.public_ip}:9000/"))
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    wait_until(lambda: refuses(f"http://{machine.public_ip}:9000/"))


def test_a_machine_has_its_own_identity_and_keys(region: SimulatedRegion, web: str) -> None:
    whoami = "import boto3; print(boto3.client('sts', 'us-east-1').get_caller_identity()['Arn'])"
    command = f'AWS_SHARED_CREDENTIALS_FILE=/none ~/skypilot-runtime/bin/python -c "{whoami}"'
    (machine,) = region.instances("running")
    assert region.ssh(web, command).stdout.strip().endswith(f"assumed-role/skypilot-v1/{machine.id}")


def test_a_server_of_this_machine_is_shown_to_the_simulated_ones(region: SimulatedRegion, web: str) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        region.expose(port)
        asked = f"curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}/"
        wait_until(lambda: region.ssh(web, asked, check=False).stdout == "204")
        server.shutdown()


def test_the_real_vllm_chats_from_the_machine(region: SimulatedRegion, web: str) -> None:
    region.run("sky", "exec", "-d", web, VLLM)
    vllm = f"http://{address(region, 8001)}"
    wait_until(lambda: not refuses(f"{vllm}/health"), seconds=240)  # 20 s on an idle machine
    message = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Cleared to land?"}],
        "max_tokens": 4,
    }
    request = urllib.request.Request(
        f"{vllm}/v1/chat/completions", json.dumps(message).encode(), {"Content-Type": "application/json"}
    )
    assert json.loads(read(request))["usage"]["completion_tokens"] > 0


def test_a_stopped_machine_keeps_its_disk_and_loses_its_address(region: SimulatedRegion, web: str) -> None:
    before = address(region)
    region.ssh(web, "echo kept > ~/note")
    region.run("sky", "stop", "-y", web)
    assert [machine.state for machine in region.instances()] == ["stopped"]
    assert refuses(f"http://{before}/")

    region.run("sky", "start", "-y", web)
    assert address(region) != before
    assert region.ssh(web, "cat ~/note").stdout == "kept\n"


def test_gcp_machines_come_from_the_same_region(region: SimulatedRegion) -> None:
    with region.faults(no_capacity=["us-central1-a"]):
        launch(region, "on-gcp", ON_GCP)
    (machine,) = (each for each in region.instances("running") if each.cloud == "gcp")
    assert (machine.zone, machine.instance_type) == ("us-central1-b", "g2-standard-4")
    assert read(f"http://{machine.public_ip}:8000/") == b"from gcpuser\n"


def test_a_rebooted_machine_keeps_disk_and_address_and_loses_its_processes(region: SimulatedRegion) -> None:
    before = region.instances("running")
    (machine,) = (each for each in before if each.cloud == "gcp")
    region.ssh("on-gcp", "nohup sleep 300 > /dev/null 2>&1 & touch ~/before-the-reboot")
    region.reboot(machine.id)
    wait_until(lambda: region.ssh("on-gcp", "pgrep -x sleep", check=False).returncode == 1)
    assert region.ssh("on-gcp", "ls before-the-reboot; pgrep -x cron | wc -l").stdout.split()[1:] == ["1"]
    assert region.instances("running") == before


def test_a_machine_whose_system_is_shut_down_is_stopped(region: SimulatedRegion) -> None:
    (machine,) = (each for each in region.instances("running") if each.cloud == "gcp")
    region.ssh("on-gcp", "sudo shutdown -h now", check=False)  # the connection may end with the machine
    wait_until(lambda: [each.state for each in region.instances() if each.id == machine.id] == ["stopped"])
    assert f"{machine.id} powered itself off" in region.log_path.read_text()
    region.run("sky", "down", "-y", "on-gcp")
    assert all(each.cloud == "aws" for each in region.instances())


@pytest.mark.slow
def test_a_machine_stops_itself_when_idle(region: SimulatedRegion, web: str) -> None:
    region.run("sky", "cancel", "-y", "-a", web)
    region.run("sky", "autostop", "-y", "-i", "1", "--wait-for", "jobs", web)
    wait_until(lambda: not region.instances("running"), seconds=150)
    (machine,) = region.instances()
    assert machine.state == "stopped"
    assert f"stop {machine.id} by skypilot-v1/{machine.id}" in region.log_path.read_text()


def test_a_machine_that_was_brought_down_is_gone(region: SimulatedRegion, web: str) -> None:
    region.run("sky", "down", "-y", web)
    assert region.instances() == ()
    assert list((region.log_path.parent / "machines").glob("i-*")) == []


def launch(region: SimulatedRegion, cluster: str, task: dict[str, Any]) -> None:
    """``sky launch`` without waiting for the job."""
    path: Path = region.home / f"{cluster}.yaml"
    path.write_text(yaml.safe_dump(task))
    region.run("sky", "launch", "-y", "-d", "-c", cluster, path)


def address(region: SimulatedRegion, port: int = 8000) -> str:
    """``host:port`` of the one AWS machine that runs."""
    (machine,) = (each for each in region.instances("running") if each.cloud == "aws")
    return f"{machine.public_ip}:{port}"


def read(request: str | urllib.request.Request, seconds: float = 20) -> bytes:
    """The body of the answer, when the server is there at last."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error}: {error.read().decode()}") from None
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def refuses(url: str) -> bool:
    """Whether nobody answers there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return True
    return False


def wait_until(holds: Callable[[], bool], seconds: float = 15) -> None:
    """Return when it holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)
