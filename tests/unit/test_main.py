"""The one door of the program."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.make_tiny_model import make
from llm_atc.cli.main import run


def test_no_secret_of_the_command_line_is_left_where_skypilot_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["parse", "vllm serve m --api-key sk-on-the-command-line", "--to", "nothing"]
    monkeypatch.setattr(sys, "argv", ["llm-atc", *words])
    with pytest.raises(SystemExit):
        run()
    assert sys.argv == ["llm-atc", "parse"]


GENERATE = "generate http://127.0.0.1:9 -i in.jsonl -o out.jsonl"


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "words",
    [
        f"{GENERATE} --timeout",
        f"{GENERATE} --temperature",
        f"{GENERATE} --top-p",
        f"{GENERATE} --presence-penalty",
        f"{GENERATE} --frequency-penalty",
        "plan org/model --cloud local --bandwidth",
        "plan org/model --max-price",
        "serve org/model --cloud local --timeout",
        "chat org/model --serve --timeout",
        "start demo --timeout",
        "accelerators --max-price",
    ],
)
def test_what_cannot_be_counted_with_is_no_number_of_any_option(
    words: str, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        run([*words.split(), number])
    assert ended.value.code == 2


@pytest.mark.parametrize("words", [["set", "model.name", "a/b"], ["init", "--force"], ["show"]])
@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_configuration_that_cannot_be_read_is_named_and_left_as_it_is(
    words: list[str],
    content: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "config.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    monkeypatch.setenv("LLM_ATC_CONFIG", str(path))
    with pytest.raises(SystemExit) as ended:
        run(["config", *words])
    said = " ".join(capsys.readouterr().err.split())
    why = "cannot be read: Is a directory." if content is None else "is not text in UTF-8."
    assert (ended.value.code, said) == (1, f"Error: configuration file: {path} {why}")
    assert path.is_dir() if content is None else path.read_bytes() == content


@pytest.mark.parametrize(
    "words",
    [
        "config show",
        "config show --json",
        "config path",
        "config schema",
        "engines list",
        "plan MODEL --cloud local",
        "fit MODEL",
        "fit MODEL --json",
    ],
)
def test_output_that_nobody_reads_is_no_error(words: str, tmp_path: Path) -> None:
    make(tmp_path / "model")
    typed = words.replace("MODEL", str(tmp_path / "model")).split()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLM_ATC_")}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from llm_atc.cli.main import run; run()", *typed],
            env=kept | {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cloud.ttl", "8x"),
        ("cloud.idle_action", "foo"),
        ("cloud.idle_minutes", "-5"),
        ("cloud.copy_minutes", "0"),
        ("cloud.budget", "abc"),
        ("cloud.name", "mars"),
        ("cloud.cache", "gs://bucket"),
        ("resources.accelerators", "L4:x"),
        ("resources.max_price", "nan"),
        ("resources.concurrency", "0"),
        ("resources.disk_size", "1"),
        ("resources.num_nodes", "0"),
        ("deployment.name", "bad name!"),
        ("inference.max_model_len", "many"),
        ("inference.lora", "=x"),
        ("generation.top_k", "-2"),
        ("serve.host_port", "127.0.0.1:99999"),
    ],
)
def test_config_set_refuses_what_serve_would_refuse(
    name: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("LLM_ATC_CONFIG", str(path))
    with pytest.raises(SystemExit) as ended:
        run(["config", "set", name, value])
    assert (ended.value.code, path.exists()) == (2, False)
    assert capsys.readouterr().err.startswith(f"Error: {name}: ")


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("generation.top_k", "-1", "generation:\n  top_k: -1\n"),
        ("generation.presence_penalty", "-1.5", "generation:\n  presence_penalty: -1.5\n"),
        ("cloud.ttl", "8h", "cloud:\n  ttl: 8h\n"),
        ("cloud.ttl", "null", "cloud:\n  ttl: null\n"),
        ("resources.max_price", "null", "resources:\n  max_price: null\n"),
    ],
)
def test_config_set_takes_what_serve_takes(
    name: str, value: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("LLM_ATC_CONFIG", str(path))
    with pytest.raises(SystemExit) as ended:
        run(["config", "set", name, value])
    assert (ended.value.code, path.read_text()) == (0, written)


def test_chat_advises_no_option_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi"))
    with pytest.raises(SystemExit) as ended:
        run(["chat", str(tmp_path / "nothing"), "--serve", "--cloud", "local", "--yes"])
    said = capsys.readouterr().err
    assert (ended.value.code, "There is no directory" in said, "--force" in said) == (1, True, False)


def test_a_port_of_a_variable_is_told_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLM_ATC_HOST_PORT", "127.0.0.1:99999")
    with pytest.raises(SystemExit) as ended:
        run(["serve", "org/model", "--cloud", "local"])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "99999 is not between 1024 and 65535" in said
    assert "LLM_ATC_HOST_PORT" in said
    assert "--port" not in said


def test_a_price_below_nothing_is_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["accelerators", "--max-price", "-1"])
    assert ended.value.code == 2
    assert "--max-price -1.0 is no price" in capsys.readouterr().err
