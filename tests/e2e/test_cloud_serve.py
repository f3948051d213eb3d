"""The main job on a cloud: a checkpoint from a bucket, the real SkyPilot, the real vLLM, asked from outside.

The machines are the simulated region's; nothing of llm-atc knows. One deployment goes through its whole life,
so these tests run in the order in which they stand.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import openai
import pytest

from examples.make_tiny_model import make
from tests.cloud.client import SimulatedRegion

pytestmark = [pytest.mark.timeout(900)]

NAME = "servecluster"
MODEL = "llm-atc/myvicuna"
TOKEN = "hf_aTokenThatMustNotBeSeen"  # a made-up one
SERVE = (
    *("llm-atc", "serve", "--name", MODEL, "--source", "s3://my-bucket/my_vicuna/"),
    *("--accelerator", "A100:1", "-c", NAME, "--cloud", "gcp", "--region", "asia-southeast1"),
    *("--envs", f"HF_TOKEN={TOKEN}"),
)


@pytest.fixture(scope="module")
def landed(region: SimulatedRegion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `serve` printed for the first of the four commands of the README, as it stands there."""
    checkpoint = tmp_path_factory.mktemp("my_vicuna")
    make(checkpoint)
    s3 = region.s3()
    s3.create_bucket(Bucket="my-bucket")
    for file in checkpoint.iterdir():
        s3.upload_file(str(file), "my-bucket", f"my_vicuna/{file.name}")
    served = region.run(*SERVE, timeout=600)
    assert TOKEN not in served.stdout + served.stderr
    yield served.stdout
    region.run("llm-atc", "down", NAME, "--yes", check=False)


def endpoint(region: SimulatedRegion) -> dict[str, str]:
    facts: dict[str, str] = json.loads(region.run("llm-atc", "endpoint", NAME, "--json").stdout)
    return facts


@pytest.fixture(scope="module")
def facts(region: SimulatedRegion, landed: str) -> dict[str, str]:
    """Where it answers, and with which key. Asked once: a look at the machine costs it seconds."""
    return endpoint(region)


@pytest.fixture
def client(facts: dict[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=facts["base_url"], api_key=facts["api_key"], timeout=60) as made:
        yield made


def code(url: str, key: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_serve_ends_with_a_curl_line_that_works(region: SimulatedRegion, landed: str) -> None:
    line = next(line for line in landed.splitlines() if line.startswith("Try"))
    curl = re.search(r"curl (\S+) -H \"(.*)\"", line)
    assert curl is not None
    answer = region.run("curl", "-sf", curl[1], "-H", curl[2]).stdout
    assert [model["id"] for model in json.loads(answer)["data"]] == [MODEL]


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/version", "/tokenize"])
def test_nobody_gets_in_without_the_key(facts: dict[str, str], path: str) -> None:
    url = facts["endpoint"] + path
    assert (code(url), code(url, "sk-a-wrong-key")) == (401, 401)


def test_what_is_on_no_list_is_not_there_even_with_the_key(facts: dict[str, str]) -> None:
    for path in ("/invocations", "/docs", "/openapi.json", "/server_info", "/load"):
        assert code(facts["endpoint"] + path, facts["api_key"]) == 404
    assert code(f"{facts['endpoint']}/health") == 200


def test_only_the_relay_can_be_reached_from_outside(region: SimulatedRegion, facts: dict[str, str]) -> None:
    address = facts["endpoint"].removeprefix("http://").partition(":")[0]
    with pytest.raises(OSError):  # noqa: PT011  (the engine's own port)
        urllib.request.urlopen(f"http://{address}:8001/health", timeout=5)
    listening = region.ssh(NAME, "ss -ltnH | awk '{print $4}'").stdout.split()
    assert "0.0.0.0:8000" in listening
    assert "127.0.0.1:8001" in listening


def test_the_openai_client_chats_streams_and_completes(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    chat = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8)  # type: ignore[arg-type,call-overload]
    assert chat.usage.completion_tokens > 0
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model=MODEL, messages=messages, max_tokens=8, stream=True
    )
    assert sum(1 for chunk in stream if chunk.choices) > 1
    assert client.completions.create(model=MODEL, prompt="Hello", max_tokens=4).choices[0].text


def test_the_log_is_the_engines(region: SimulatedRegion, landed: str) -> None:
    log = region.run("llm-atc", "logs", NAME).stdout
    assert "Application startup complete" in log
    assert TOKEN not in log


def test_the_keys_are_nowhere_but_where_they_must_be(region: SimulatedRegion, facts: dict[str, str]) -> None:
    key = facts["api_key"]
    home = region.home / ".llm-atc"
    holders = [path for path in home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert [(path.name, path.stat().st_mode & 0o777) for path in holders] == [(f"{NAME}.json", 0o600)]
    shown = region.run("llm-atc", "status", "--json").stdout + region.run("llm-atc", "status").stdout
    arguments = region.ssh(NAME, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").stdout
    for secret in (key, TOKEN):
        assert secret not in shown + arguments
    sky, servers = region.home / ".sky", region.home / ".sky" / "api_server"
    assert servers.stat().st_mode & 0o077 == 0
    files = [path for path in sky.rglob("*") if path.is_file() and servers not in path.parents]
    for path in files:
        assert not any(secret.encode() in path.read_bytes() for secret in (key, TOKEN)), path


def test_status_tells_state_place_and_price(region: SimulatedRegion, landed: str) -> None:
    (status,) = json.loads(region.run("llm-atc", "status", NAME, "--json").stdout)
    assert (status["state"], status["model"]) == ("ready", MODEL)
    assert "A100" in status["where"]
    assert status["hourly"] > 1


def test_the_users_sky_and_ssh_commands_go_on_working(region: SimulatedRegion, facts: dict[str, str]) -> None:
    assert NAME in region.run("sky", "status").stdout
    address = region.run("sky", "status", "--ip", NAME).stdout.strip()
    assert address in facts["endpoint"]
    assert "Application startup complete" in region.run("sky", "logs", NAME, "--no-follow").stdout
    assert region.ssh(NAME, "hostname").returncode == 0


def test_a_second_serve_of_the_same_name_asks_before_it_replaces(
    region: SimulatedRegion, landed: str
) -> None:
    refused = region.run(*SERVE, check=False)
    assert refused.returncode == 1
    assert "Replace it?" in refused.stderr


def test_a_name_that_would_be_the_same_machine_is_refused(region: SimulatedRegion, landed: str) -> None:
    twin = NAME.capitalize()
    refused = region.run(*(twin if word == NAME else word for word in SERVE), check=False)
    assert refused.returncode == 1
    assert f"{twin} and {NAME}, which is there already, would be one machine" in refused.stderr
    assert "No deployment is called" in region.run("llm-atc", "endpoint", twin, check=False).stderr


def test_weights_are_streamed_from_the_bucket_when_asked(region: SimulatedRegion, landed: str) -> None:
    region.ssh(NAME, "rm -rf ~/.llm-atc/checkpoints")
    told = region.run(*SERVE, "--weights", "stream", "--yes", timeout=600)
    assert "The weights are streamed from the bucket, as you asked." in told.stderr
    facts = endpoint(region)
    with openai.OpenAI(base_url=facts["base_url"], api_key=facts["api_key"], timeout=60) as client:
        assert client.completions.create(model=MODEL, prompt="Hello", max_tokens=4).choices[0].text
    on_the_disk = "find ~/.cache ~/.llm-atc/checkpoints -name '*.safetensors' 2>/dev/null; true"
    assert region.ssh(NAME, on_the_disk).stdout == ""


def test_stop_closes_the_port_and_start_answers_again_with_the_same_key(
    region: SimulatedRegion, landed: str
) -> None:
    before = endpoint(region)
    region.run("llm-atc", "stop", NAME)
    with pytest.raises(OSError):  # noqa: PT011  (refused, or reset: the port is closed)
        urllib.request.urlopen(f"{before['endpoint']}/health", timeout=5)
    assert [machine.state for machine in region.instances()] == ["stopped"]
    (status,) = json.loads(region.run("llm-atc", "status", NAME, "--json").stdout)
    assert (status["state"], status["hourly"]) == ("stopped", None)

    region.run("llm-atc", "start", NAME, timeout=600)
    after = endpoint(region)
    assert after["api_key"] == before["api_key"]
    assert after["endpoint"] != before["endpoint"]
    with openai.OpenAI(base_url=after["base_url"], api_key=after["api_key"], timeout=60) as again:
        assert again.completions.create(model=MODEL, prompt="Hello", max_tokens=4).choices[0].text


def test_down_leaves_nothing(region: SimulatedRegion, landed: str) -> None:
    asked = region.run("llm-atc", "down", NAME, check=False)
    assert asked.returncode == 1
    assert "--yes" in asked.stderr
    region.run("llm-atc", "down", NAME, "--yes")
    assert region.instances() == ()
    assert list((region.home / ".llm-atc" / "secrets").iterdir()) == []
    assert json.loads(region.run("llm-atc", "status", "--json").stdout) == []
    assert NAME not in region.run("sky", "status").stdout
    gone = region.run("llm-atc", "endpoint", NAME, check=False)
    assert gone.returncode == 1
    assert "No deployment is called" in gone.stderr
