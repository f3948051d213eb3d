"""The user's own configuration file: as `config init` writes it, and as `config set` changes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm_atc.config import change, template
from llm_atc.config.file import read_text
from llm_atc.errors import ConfigError
from llm_atc.plan.keys import BY_NAME, KEYS
from llm_atc.plan.layers import SERVICE_FILE, USER_CONFIG, Layer
from llm_atc.store.engine_options import engine_options

FOUND = template.Found(
    gpus=("NVIDIA L4",) * 2,
    cpus=8,
    memory=2**34,
    engines=("vllm-0.32.0",),
    credentials={"AWS": "~/.aws/credentials"},
    variables=("HF_TOKEN",),
)


def read(text: str, source: str = SERVICE_FILE) -> Layer:
    return read_text(text, "f.yaml", source, engine_options)


def test_what_init_writes_sets_only_the_place_and_is_read() -> None:
    made = template.text(FOUND, Path("/s.json"))
    assert read(made, USER_CONFIG).values == {"cloud.name": "local"}
    assert "2 × " not in made
    assert "NVIDIA L4, NVIDIA L4; 8 CPU cores, 16 GiB of free memory" in made
    assert "AWS (~/.aws/credentials)" in made
    nowhere = template.Found(credentials={"AWS": "AWS_ACCESS_KEY_ID"})
    assert read(template.text(nowhere, Path("/s.json")), USER_CONFIG).values == {}


def test_every_comment_of_init_becomes_a_setting_when_its_mark_is_taken_away() -> None:
    made = template.text(FOUND, Path("/s.json"))
    open_text = re.sub(r"^( *)#(\w+: )", r"\1\2", made, flags=re.MULTILINE)
    assert read(open_text, USER_CONFIG).values.keys() == BY_NAME.keys()


def test_credentials_are_found_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_bytes(b"\xff")
    assert template.read_credentials({"HF_TOKEN": "x"}, tmp_path) == {
        "AWS": "~/.aws/credentials",
        "Hugging Face": "HF_TOKEN",
    }


def set_in(text: str, name: str, value: Any) -> str:
    return change.changed(text, BY_NAME[name], value, "f.yaml", engine_options)


@pytest.mark.parametrize(
    ("text", "name", "value", "made"),
    [
        ("", "server.port", 8001, "server:\n  port: 8001\n"),
        ("# head\n", "server.port", 8001, "# head\nserver:\n  port: 8001\n"),
        ("server:\n  port: 8000 # mine\n", "server.port", 8001, "server:\n  port: 8001 # mine\n"),
        (
            "server:\n    port: 8000\n# end",
            "server.host",
            "x",
            "server:\n    port: 8000\n    host: x\n# end\n",
        ),
        ("server: {port: 8000}\n", "server.host", "x", "server: {port: 8000, host: x}\n"),
        ("server: {}\n", "server.host", "x", "server: {host: x}\n"),
        ("server:\nmodel: {}\n", "server.host", "x", "server:\n  host: x\nmodel: {}\n"),
        ("server:\n  #port: 1\n  # text\n", "server.port", 8001, "server:\n  port: 8001\n  # text\n"),
        ("envs:\n  A: 1\n# c\n", "envs", ["B=2"], "envs:\n  [B=2]\n# c\n"),
        ("#envs: null\n", "envs", ["B=2"], "envs: [B=2]\n"),
        ("server:\n  port:\n", "server.port", 8001, "server:\n  port: 8001\n"),
        ("model:\r\n  name: a\r\n", "model.source", "./b", "model:\r\n  name: a\r\n  source: ./b\r\n"),
        ("model:\n  name: |\n    a\n# c\n", "model.name", "b", "model:\n  name: b\n# c\n"),
        (
            "inference:\n  max-model-len: 1\n",
            "inference.max_model_len",
            2,
            "inference:\n  max-model-len: 2\n",
        ),
        ("model:\n  name: a\n", "model.name", "yes: #", "model:\n  name: 'yes: #'\n"),
        ("inference:\n  dtype: a\n", "inference.dtype", None, "inference:\n  dtype: null\n"),
    ],
)
def test_a_setting_is_changed_and_all_else_stays(text: str, name: str, value: Any, made: str) -> None:
    assert set_in(text, name, value) == made


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_setting_can_be_set_in_what_init_writes(key: Any) -> None:
    from tests.unit.test_config_layers import sample

    text = template.text(FOUND, Path("/s.json"))
    made = set_in(text, key.name, sample(key, 0))
    same = [line for line in made.splitlines() if line in text.splitlines()]
    assert len(same) >= len(text.splitlines()) - 1
    assert set_in(made, key.name, sample(key, 1)).count("\n") == made.count("\n")


@pytest.mark.parametrize("text", ["model: short\n", "model: {name: a,}\n"])
def test_what_cannot_be_changed_without_loss_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_in(text, "model.source", "./x")
    assert caught.value.hint == "llm-atc config edit" or "is not YAML" in caught.value.message


def test_a_file_is_written_whole_through_a_link_with_its_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    change.write(link, "new")
    assert (real.read_text(), real.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o640, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]
