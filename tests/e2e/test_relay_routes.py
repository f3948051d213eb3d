"""The relay in front of the real vLLM: every route vLLM lists is tried, with a key and without."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from examples.make_tiny_model import make
from llm_atc.access import Secret
from llm_atc.engines.installer import EnginesHere
from llm_atc.ports import EngineState
from llm_atc.relay.routes import find
from llm_atc.targets.local import LocalTarget
from llm_atc.targets.local_folder import Folder
from tests.local_fixtures import ModelsOnDisk, Told, eventually, get, plan_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KEY = "sk-atc-the-relays-key"
ARGUMENTS = (
    "--served-model-name", "tiny", "--enforce-eager", "--kv-cache-memory-bytes", str(2**28),
    "--enable-tokenizer-info-endpoint", "--enable-lora",
)  # fmt: skip
DEVELOPMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}  # all that could be open


@dataclass(frozen=True)
class Pair:
    """The addresses of a relay and of the engine behind it."""

    relay: str
    engine: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, real_engines: EnginesHere) -> Iterator[Pair]:
    """vLLM with everything switched on that it may open, and the relay that is put in front of it here."""
    model, home = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("home")
    make(model)
    target = LocalTarget(home, real_engines, ModelsOnDisk())
    plan = plan_here("relayed", str(model), arguments=ARGUMENTS, **DEVELOPMENT)
    target.launch(plan, {plan.key_variable: Secret(KEY)}, Told())
    try:
        relay = eventually(lambda: target.observe("relayed").address, within=60) or ""
        state = Folder(home / "local" / "relayed").state()
        assert state is not None

        def ready() -> bool:
            log = "\n".join(target.logs("relayed", follow=False, lines=40))
            assert target.observe("relayed").engine is not EngineState.ENDED, log
            return get(relay)[0] == 200

        assert eventually(lambda: get(relay)[0], within=30) == 503
        eventually(ready, within=240, every=0.3)
        yield Pair(relay, f"127.0.0.1:{state.engine_port}")
    finally:
        target.down("relayed", Told())


def try_route(address: str, method: str, path: str, key: str | None) -> int:
    """The status that this route answers to a request that asks for nothing."""
    host, _, port = address.partition(":")
    asking = http.client.HTTPConnection(host, int(port), timeout=60)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    asking.request(method, path, body=b"{}" if method in ("POST", "PUT", "PATCH") else None, headers=headers)
    status = asking.getresponse().status
    asking.close()
    return status


def routes_of(address: str) -> list[tuple[str, str]]:
    """Method and path of every route in the engine's own OpenAPI document, with names filled in."""
    host, _, port = address.partition(":")
    asking = http.client.HTTPConnection(host, int(port), timeout=60)
    asking.request("GET", "/openapi.json")
    document = json.loads(asking.getresponse().read())
    asking.close()
    return sorted(
        (method.upper(), re.sub(r"\{[^}]*\}", "x", path))
        for path, methods in document["paths"].items()
        for method in methods
    )


def test_no_route_of_vllm_is_reachable_without_the_key_but_health(pair: Pair) -> None:
    routes = routes_of(pair.engine)
    paths = {path for _, path in routes}
    assert len(routes) > 30
    assert {"/invocations", "/sleep", "/v1/load_lora_adapter", "/v1/chat/completions"} <= paths
    for key in (None, "sk-atc-a-wrong-key"):
        answered = {(method, path): try_route(pair.relay, method, path, key) for method, path in routes}
        assert {route for route, status in answered.items() if status != 401} == {("GET", "/health")}


def test_no_route_of_vllm_outside_the_list_is_reachable_with_the_key(pair: Pair) -> None:
    seen = {}
    for method, path in routes_of(pair.engine):
        route = find(path.encode())
        status = seen[method, path] = try_route(pair.relay, method, path, KEY)
        if route is None:
            assert status == 404, path
        elif method.encode() not in route.methods:
            assert status == 405, path
    assert seen["POST", "/invocations"] == seen["POST", "/sleep"] == 404
    assert seen["GET", "/v1/models"] == seen["GET", "/health"] == 200
    assert seen["POST", "/v1/chat/completions"] == 400, "vLLM's own answer to a request without messages"
    assert get(pair.relay)[0] == 200, "nothing was put to sleep"


def test_vllm_streams_counts_and_tokenizes_through_it(pair: Pair) -> None:
    with openai.OpenAI(base_url=f"http://{pair.relay}/v1", api_key=KEY, max_retries=0) as client:
        stream = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces = list(stream)
        assert len(pieces) > 5
        assert pieces[-1].usage is not None
        tokens = pieces[-1].usage.completion_tokens
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.completions.create(model="another", prompt="Hello")
    assert try_route(pair.relay, "POST", "/tokenize", KEY) == 400
    host, _, port = pair.relay.partition(":")
    asking = http.client.HTTPConnection(host, int(port), timeout=10)
    asking.request("GET", "/relay/metrics", headers={"x-api-key": KEY})
    assert f'tokens_total{{direction="out",model="tiny"}} {tokens}' in asking.getresponse().read().decode()
    asking.close()
