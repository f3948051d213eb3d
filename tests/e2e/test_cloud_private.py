"""Endpoints behind TLS, and endpoints that have no open port at all, on the simulated region.

One deployment becomes first private, then public behind TLS, so these tests run in the order in which they
stand. A certificate is known by its fingerprint only: no authority signs for an address of today.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from llm_atc.certificates import Certificate
from tests.cloud.client import SimulatedRegion

pytestmark = [pytest.mark.timeout(900)]

NAME = "quiet"
HELLO = [{"role": "user", "content": "Hello"}]
SERVE = ("llm-atc", "serve", "--name", "llm-atc/quiet", "--source", "s3://quiet-bucket/model/", "-c", NAME)
PLACE = ("--accelerator", "L4:1", "--cloud", "aws", "--region", "us-east-1", "--tls")


@pytest.fixture(scope="module")
def private(region: SimulatedRegion, tiny_model: Path) -> Iterator[str]:
    """What `serve --private --tls` printed."""
    s3 = region.s3()
    s3.create_bucket(Bucket="quiet-bucket")
    for file in tiny_model.iterdir():
        s3.upload_file(str(file), "quiet-bucket", f"model/{file.name}")
    served = region.run(*SERVE, *PLACE, "--private", timeout=600)
    yield served.stdout + served.stderr
    region.run("llm-atc", "down", NAME, "--yes", check=False)


@pytest.fixture(scope="module")
def connected(region: SimulatedRegion, private: str) -> Iterator[subprocess.Popen[str]]:
    """`llm-atc connect` at work."""
    with subprocess.Popen(
        ["llm-atc", "connect", NAME], env=region.env, cwd=region.home, stderr=subprocess.PIPE, text=True
    ) as started:
        wait_for_note(started, "answers at http")
        yield started
        started.send_signal(signal.SIGINT)
        started.wait(20)


def wait_for_note(started: subprocess.Popen[str], text: str) -> str:
    assert started.stderr is not None
    for line in started.stderr:
        if text in line:
            return line
    raise AssertionError(f"the command ended before it said {text!r}")


def facts(region: SimulatedRegion) -> dict[str, str]:
    found: dict[str, str] = json.loads(region.run("llm-atc", "endpoint", NAME, "--json").stdout)
    return found


def knowing(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=certificate)
    context.check_hostname = False
    return context


def chat(found: dict[str, str]) -> str:
    with httpx.Client(verify=knowing(found["certificate"])) as web:
        client = openai.OpenAI(
            base_url=found["base_url"], api_key=found["api_key"], http_client=web, timeout=60
        )
        answer = client.chat.completions.create(
            model=found["model"],
            messages=HELLO,  # type: ignore[arg-type]
            max_tokens=4,
        )
    return answer.choices[0].message.content or ""


def test_a_private_endpoint_is_landed_without_an_address(region: SimulatedRegion, private: str) -> None:
    assert f"llm-atc connect {NAME}" in private
    refused = region.run("llm-atc", "endpoint", NAME, check=False)
    assert refused.returncode == 1
    assert f"llm-atc connect {NAME}" in refused.stderr
    assert [one["state"] for one in json.loads(region.run("llm-atc", "status", "--json").stdout)] == ["ready"]


def test_no_port_but_that_of_ssh_can_be_reached(region: SimulatedRegion, private: str) -> None:
    (machine,) = region.instances("running")
    assert machine.public_ip is not None
    open_ports = [port for port in (22, 8000, 8001, 8080) if is_open(machine.public_ip, port)]
    assert open_ports == [22]


def is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def test_a_connected_client_chats_through_the_tunnel(
    region: SimulatedRegion, connected: subprocess.Popen[str]
) -> None:
    found = facts(region)
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+/v1", found["base_url"])
    assert chat(found)


def test_a_tunnel_that_breaks_comes_back(region: SimulatedRegion, connected: subprocess.Popen[str]) -> None:
    (tunnel,) = [one for one in psutil.Process(connected.pid).children() if one.name() == "ssh"]
    tunnel.kill()
    wait_for_note(connected, "broke")
    wait_for_note(connected, "answers at http")
    assert chat(facts(region))


def test_a_tunnel_ends_with_the_command_that_keeps_it(
    region: SimulatedRegion, connected: subprocess.Popen[str]
) -> None:
    port = int(facts(region)["base_url"].split(":")[2].removesuffix("/v1"))
    connected.send_signal(signal.SIGINT)
    assert connected.wait(20) == 0
    deadline = time.monotonic() + 10
    while is_open("127.0.0.1", port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_open("127.0.0.1", port)
    assert region.run("llm-atc", "endpoint", NAME, check=False).returncode == 1


def test_a_public_endpoint_behind_tls_is_known_by_its_certificate(
    region: SimulatedRegion, private: str
) -> None:
    served = region.run(*SERVE, *PLACE, "--yes", timeout=600)
    found = facts(region)
    (machine,) = region.instances("running")
    assert found["base_url"] == f"https://{machine.public_ip}:8000/v1"
    assert chat(found)
    assert region.run("llm-atc", "chat", NAME, "--max-tokens", "4", stdin="Hello").stdout.strip()
    (region.home / "in.jsonl").write_text('"Hello"\n')
    batch = ("llm-atc", "generate", NAME, "-i", "in.jsonl", "-o", "out.jsonl", "--max-tokens", "4")
    assert "1 lines are answered" in region.run(*batch).stderr
    stranger = Certificate.make(NAME, datetime.now(UTC))
    with (
        httpx.Client(verify=stranger.pinned()) as web,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        web.get(f"{found['base_url']}/models")
    curl = next(line for line in served.stdout.splitlines() if "curl" in line).split("Try", 1)[-1].strip()
    done = subprocess.run(
        ["bash", "-c", f"{curl} --silent --fail"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["data"][0]["id"] == found["model"]


def test_the_private_key_is_nowhere_that_others_read(region: SimulatedRegion, private: str) -> None:
    packed = json.loads((region.home / ".llm-atc" / "secrets" / f"{NAME}.json").read_text())["LLM_ATC_TLS"]
    listed = region.run("ps", "axww").stdout
    told = region.run("llm-atc", "status", "--json").stdout + region.run("sky", "status", "-v").stdout
    logs = region.run("llm-atc", "logs", NAME).stdout
    for text in (listed, told, logs, private):
        assert packed[:40] not in text
        assert "PRIVATE KEY" not in text
