"""The engine's own options, whichever way they were said."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from llm_atc.errors import UsageError
from llm_atc.plan.asked import read_request
from llm_atc.plan.backend_words import Backend, check_once, join
from llm_atc.plan.engine import EngineName
from llm_atc.plan.inference import Inference
from llm_atc.plan.keys import Value
from llm_atc.plan.layers import FLAG, Layer, settle
from llm_atc.plan.request import Request
from llm_atc.store.engine_options import engine_options

VLLM, LLAMA = EngineName.VLLM, EngineName.LLAMA_CPP


def read(typed: Mapping[str, Value], filed: Mapping[str, Value] | None = None, *after: str) -> Request:
    """The request of what was typed and what a file says."""
    layers = [Layer(source=FLAG, values=typed), Layer(source="atc.yaml", values=filed or {})]
    return read_request(settle(layers), {}, engine_args=after).request


def joined(engine: EngineName, **said: object) -> tuple[str, ...]:
    return join(Backend(**said), engine, engine_options).words  # type: ignore[arg-type]  # as the fields are


def test_texts_are_split_as_a_shell_would_and_words_behind_the_dashes_come_last() -> None:
    request = read(
        {
            "model.name": "m/m",
            "serve.backend": "vllm",
            "serve.backend_args": ["--max-num-seqs 16", "--generation-config 'a b'"],
        },
        None,
        "--max-num-seqs",
        "8",
    )
    assert join(request.backend, VLLM, engine_options).words == (
        *("--max-num-seqs", "16", "--generation-config", "a b"),
        *("--max-num-seqs", "8"),
    )


def test_a_mapping_may_have_dashes_or_underscores_and_values_of_every_kind() -> None:
    filed = {
        "max_num_seqs": 16,
        "enforce-eager": True,
        "enable_prefix_caching": False,
        "compilation_config": {"mode": 3},
        "kv-cache-memory-bytes": "1G",
    }
    request = read({"model.name": "m/m"}, {"serve.backend": "vllm", "serve.backend_args": filed})
    assert join(request.backend, VLLM, engine_options).words == (
        *("--max-num-seqs", "16", "--enforce-eager", "--no-enable-prefix-caching"),
        *("--compilation-config", '{"mode": 3}', "--kv-cache-memory-bytes", "1G"),
    )


def test_options_without_the_engines_name_are_refused_unless_a_file_names_it() -> None:
    typed = {"model.name": "m/m", "serve.backend_args": ["--max-num-seqs 16"]}
    with pytest.raises(UsageError, match="say whose") as raised:
        read(typed)
    assert "--backend vllm" in (raised.value.hint or "")
    assert read(typed, {"serve.backend": "vllm"}).backend.words == ("--max-num-seqs", "16")


def test_vllm_args_say_the_engine_too() -> None:
    request = read({"model.name": "m/m", "serve.vllm_args": ["--max-num-seqs 16"]})
    assert (request.engine, request.backend.words) == (VLLM, ("--max-num-seqs", "16"))
    with pytest.raises(UsageError, match="--vllm-args and --backend llama-cpp contradict"):
        read({"model.name": "m/m", "serve.backend": "llama-cpp", "serve.vllm_args": ["--x"]})


@pytest.mark.parametrize(
    ("engine", "said", "told"),
    [
        (VLLM, {"words": ("--ctx-size", "9")}, "--ctx-size is an option of llama-server, and vLLM"),
        (VLLM, {"after": ("-ngl", "9")}, "-ngl is an option of llama-server"),
        (VLLM, {"options": {"ctx_size": 9}}, "--ctx-size is an option of llama-server"),
        (VLLM, {"older": {"--num-threads": 2}}, "--num-threads is an option of llama-server"),
        (LLAMA, {"words": ("--max-num-seqs=9",)}, "--max-num-seqs is an option of vLLM, and llama-server"),
        (LLAMA, {"options": {"max_num_seqs": 9}}, "--max-num-seqs is an option of vLLM"),
    ],
)
def test_an_option_of_the_other_engine_is_an_error_that_says_whose_it_is(
    engine: EngineName, said: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        joined(engine, **said)
    other = LLAMA if engine is VLLM else VLLM
    assert f"--backend {other}" in (raised.value.hint or "")


@pytest.mark.parametrize("words", [("--max-num-seq", "4"), ("--seed", "-1"), ("--host-offset", "x")])
def test_shortened_options_and_negative_numbers_are_nobody_elses(words: tuple[str, ...]) -> None:
    assert joined(VLLM, words=words) == words


def test_an_unknown_name_in_a_mapping_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"has no option 'max_num_seqz'\. Did you mean --max-num-seqs"):
        joined(VLLM, options={"max_num_seqz": 9})


@pytest.mark.parametrize(
    "said",
    [
        {"words": ("--num-gpu-layers", "9", "--max_ctx_size=512", "--num-threads", "2")},
        {"options": {"num_gpu_layers": 9, "max-ctx-size": 512, "num_threads": 2}},
        {
            "older": {"--num-gpu-layers": 9, "--max-ctx-size": 512, "--num-threads": 2},
            "warned": frozenset({"--num-gpu-layers", "--max-ctx-size", "--num-threads"}),
        },
    ],
    ids=["words", "mapping", "flags"],
)
def test_older_names_mean_llama_servers_own_and_their_new_form_is_told(said: dict[str, object]) -> None:
    found = join(Backend(**said), LLAMA, engine_options)  # type: ignore[arg-type]  # as the fields are
    assert found.words == ("--n-gpu-layers", "9", "--ctx-size", "512", "--threads", "2")
    assert [note.partition(": ")[2] for note in found.notes] == [
        "write -- --n-gpu-layers 9",
        "write -- --ctx-size 512",
        "write -- --threads 2",
    ]


def test_older_names_as_flags_are_warned_of_and_as_keys_of_a_file_are_not() -> None:
    flags = read({"model.name": "m/m", "serve.gpu_layers": 9, "serve.max_ctx_size": "2k"})
    assert dict(flags.backend.older) == {"--num-gpu-layers": 9, "--max-ctx-size": 2000}
    assert flags.backend.warned == {"--num-gpu-layers", "--max-ctx-size"}
    filed = read({"model.name": "m/m"}, {"serve.num_threads": 4})
    assert dict(filed.backend.older) == {"--num-threads": 4}
    assert not filed.backend.warned


def test_the_same_matter_said_twice_and_differently_names_both() -> None:
    known = engine_options(VLLM)
    with pytest.raises(
        UsageError, match=r"--max-model-len 4096, .* and --max-model-len 8192, .* contradict each other"
    ):
        check_once(("--max-model-len", "4096"), ("--max-model-len=8192",), known)
    check_once(("--max-model-len", "4096"), ("--max-model-len", "4096", "--seed", "1"), known)


def test_settings_become_inference_and_generation() -> None:
    request = read(
        {"model.name": "m/m", "inference.max_model_len": "32k", "inference.lora": ["sql=./a=b"]},
        {
            "generation.temperature": 0.0,
            "generation.max_tokens": 5,
            "model.trust_remote_code": True,
            "inference.quantization": None,
        },
    )
    assert request.inference == Inference(
        max_model_len=32000, lora=(("sql", "./a=b"),), trust_remote_code=True
    )
    assert request.generation == (("temperature", 0.0), ("max_tokens", 5))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"inference.max_model_len": "many"}, "--max-model-len: 'many' is not a whole number"),
        ({"inference.lora": ["sql"]}, "--lora 'sql' is no NAME=PATH"),
        ({"serve.host_port": "localhost"}, "serve.host_port 'localhost' is no HOST:PORT"),
        ({"serve.host_port": "127.0.0.1:99999"}, "serve.host_port '127.0.0.1:99999': 99999 is not between"),
        ({"serve.host_port": "80"}, "serve.host_port '80': 80 is not between 1024 and 65535"),
        ({"serve.backend": "vllm", "serve.backend_args": ["'"]}, "--backend-args: a quote"),
    ],
)
def test_what_cannot_be_read_is_named(typed: dict[str, Value], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read({"model.name": "m/m", **typed})


@pytest.mark.parametrize(
    ("filed", "host", "port"),
    [
        ({"serve.host_port": "0.0.0.0:9000"}, "0.0.0.0", 9000),
        ({"serve.host_port": 9000}, None, 9000),
        ({"serve.host_port": "[::1]:9000"}, "::1", 9000),
        ({"serve.host_port": "127.0.0.1:9000", "server.port": 8001}, "127.0.0.1", 8001),
    ],
)
def test_host_and_port_may_be_said_in_one(
    filed: dict[str, Value], host: str | None, port: int | None
) -> None:
    request = read({"model.name": "m/m"}, filed)
    assert (request.host, request.port) == (host, port)


def test_a_models_path_is_served_when_no_name_is_given_and_the_typed_one_wins() -> None:
    assert read({}, {"serve.model_path": "./m.gguf"}).model == "./m.gguf"
    assert read({}, {"serve.model_path": "./m.gguf", "model.name": "m/m"}).model == "m/m"
    assert read({"serve.model_path": "./m.gguf"}, {"model.name": "m/m"}).model == "./m.gguf"
    with pytest.raises(UsageError, match="name two models"):
        read({"serve.model_path": "./m.gguf", "model.name": "m/m"})


def test_executables_are_read_for_each_engine() -> None:
    filed = {"backends.vllm_executable": "python -m vllm", "backends.llama_executable": "/opt/llama-server"}
    assert read({"model.name": "m/m"}, filed).executables == (
        (VLLM, "python -m vllm"),
        (LLAMA, "/opt/llama-server"),
    )
