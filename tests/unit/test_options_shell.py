"""A line is found in what people paste: scripts, containers, wrappers, notes beside it."""

from __future__ import annotations

import pytest

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import CommandLine
from llm_atc.plan.engine import EngineName
from llm_atc.plan.pasted_line import parse
from llm_atc.store.engine_options import engine_options


def read(text: str) -> CommandLine:
    return parse(text, engine_options)


@pytest.mark.parametrize(
    "start",
    [
        "vllm serve M",
        "/usr/local/bin/vllm serve M",
        "serve M",
        "--model M",
        "vllm serve --model M",
        "python -m vllm.entrypoints.openai.api_server --model M",
        "python3 -m vllm.entrypoints.cli.main serve M",
        "python /usr/bin/vllm serve M",
        "docker run --gpus all -p 8000:8000 vllm/vllm-openai --model M",
        "docker run -it --rm --shm-size=1g vllm/vllm-openai:v0.32.0 M",
        "docker run --entrypoint vllm vllm/vllm-openai serve M",
        "sudo podman run --device gpu vllm/vllm-openai M",
        "nohup vllm serve M",
        "uv run --with vllm vllm serve M",
        "conda run -n env vllm serve M",
        "$ vllm serve M",
        "llm-atc serve --name M --",
        "llm-atc serve M --cloud gcp --accelerator A100:1 --spot --",
    ],
)
def test_every_way_to_start_vllm_is_read(start: str) -> None:
    line = read(f"{start} --max-model-len 32k --enforce-eager")
    assert line == CommandLine(
        engine=EngineName.VLLM, model="M", options={"max_model_len": 32000, "enforce_eager": True}
    )


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ("A=1 B='x y' vllm serve M", {"A": "1", "B": "x y"}),
        ("env -u X A=1 vllm serve M", {"A": "1"}),
        ("export A=1 B=2\nvllm serve M", {"A": "1", "B": "2"}),
        ("export A=1; A=2 vllm serve M", {"A": "2"}),
        (
            "docker run -e A=1 --env B=2 -eC=3 --env=D=4 vllm/vllm-openai M",
            {"A": "1", "B": "2", "C": "3", "D": "4"},
        ),
        ("llm-atc serve M --envs A=1 -e B=2", {"A": "1", "B": "2"}),
        ("A=1\nvllm serve M", {}),
    ],
)
def test_variables_that_are_set_for_the_engine_are_its_environment(text: str, env: dict[str, str]) -> None:
    assert read(text).env == env


def test_variables_of_the_same_text_are_put_in() -> None:
    line = read('MODEL=org/x\nPORT=9000\nvllm serve $MODEL --port ${PORT} --seed "${SEED:-7}"')
    assert (line.model, line.options) == ("org/x", {"port": 9000, "seed": 7})


def test_a_variable_without_a_value_stands_as_it_is_and_is_told() -> None:
    line = read("vllm serve $MODEL")
    assert line.model == "$MODEL"
    assert line.notes == ("$MODEL has no value in these lines: it stands as it was written.",)


def test_lines_go_on_after_a_backslash_a_comment_and_a_forgotten_backslash() -> None:
    line = read(
        "vllm serve M \\\n  --port 9000 \\   \n  # --enforce-eager \\\n"
        "  --seed 1 # a comment\n  --max-num-seqs 4\n"
    )
    assert line.options == {"port": 9000, "seed": 1, "max_num_seqs": 4}


@pytest.mark.parametrize(
    "rest", ["> log.txt", "> log 2>&1 &", "2>/dev/null", "&> log", "| tee log", ">> log;", "< /dev/null"]
)
def test_where_output_goes_is_left_out(rest: str) -> None:
    assert read(f"vllm serve M --seed 1 {rest}").options == {"seed": 1}


def test_quotes_and_backslashes_mean_what_they_mean_to_a_shell() -> None:
    line = read(
        r"""vllm serve 'a b' --served-model-name "c \"d\" \$e" f\ g 'h'"'"'i' --chat-template '{{ x }}\n'"""
    )
    assert line.model == "a b"
    assert line.options == {
        "served_model_name": ['c "d" $e', "f g", "h'i"],
        "chat_template": r"{{ x }}\n",
    }


def test_what_else_stands_in_a_script_is_told_and_not_read() -> None:
    line = read("cd /srv && source venv/bin/activate\nvllm serve M\nsleep 1")
    assert line.notes == (
        "cd /srv is not read.",
        "source venv/bin/activate is not read.",
        "sleep 1 is not read.",
    )


def test_flags_of_docker_are_told() -> None:
    notes = read("docker run -d --gpus all -v /a:/b -p 8000:8000 -e TOKEN vllm/vllm-openai M").notes
    assert notes == (
        "--gpus all is docker's own, and left out.",
        "-v /a:/b is docker's own, and left out.",
        "-p 8000:8000 is docker's own, and left out.",
        "-e TOKEN takes its value from the environment of docker: none is written here.",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no command"),
        ("# nothing", "no command"),
        ("ls -la", "starts no engine"),
        ("vllm serve 'M", "never closed"),
        ("vllm serve <model>", "placeholder"),
        ("vllm chat", "vllm chat does not serve"),
        ("vllm serve A && vllm serve B", "2 engines"),
        ("python -m llama_cpp.server --model x", "another server"),
        ("docker run --gpus all", "names no image"),
        ("llama-server x.gguf", "-m or -hf"),
        ("llama-server --ctx-size=5", "reads no --ctx-size=VALUE"),
        ("vllm serve M --max-model-len", "--max-model-len wants a value"),
        ("vllm serve M --enforce-eager=1", "--enforce-eager takes no value"),
        ("vllm serve M --dtype bfloat61", "did you mean bfloat16"),
        ("vllm serve M --max-num 3", "short for several"),
        ("vllm serve M --task embed", "no --task"),
        ("vllm serve M --compilation-config.mod 3", "did you mean mode"),
        ("vllm serve M --compilation-config.mode", "wants a value"),
        ("vllm serve M N", "one word too many"),
        ("vllm serve M --help", "asks for help"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(text)


def test_llama_server_takes_its_model_from_a_file_or_a_repository() -> None:
    file = read("llama-server -m x.gguf -ngl 99 --no-kv-offload -fa on")
    assert (file.engine, file.model) == (EngineName.LLAMA_CPP, "x.gguf")
    assert file.options == {"n_gpu_layers": 99, "kv_offload": False, "flash_attn": "on"}
    hub = read("llama-server -hf org/x-GGUF:Q4_K_M")
    assert (hub.model, hub.options) == ("org/x-GGUF:Q4_K_M", {"hf_repo": "org/x-GGUF:Q4_K_M"})


def test_a_deprecated_option_is_told() -> None:
    assert read("vllm serve M --disable-cascade-attn").notes == (
        "--disable-cascade-attn is deprecated in vLLM 0.32.0.",
    )


@pytest.mark.parametrize(
    ("flag", "told"),
    [("--config=x.yaml", "ignored by vLLM in silence"), ("--config x.yaml", "not read here")],
)
def test_a_configuration_file_is_told_about(flag: str, told: str) -> None:
    assert told in read(f"vllm serve M {flag}").notes[0]
