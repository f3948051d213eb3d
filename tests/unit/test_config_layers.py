"""Which layer wins, key by key: for every setting that there is, and whatever is added to the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_atc.cli.main import run
from llm_atc.config.paths import PATHS
from llm_atc.plan.keys import KEYS, Key, Kind
from llm_atc.plan.layers import FOLLOWERS, Layer, for_here, settle

SOURCES = ("command line", "service file", "environment", ".env", "user config")


def sample(key: Key, number: int) -> Any:
    """A value that the setting takes, another one for each number where it has more than two."""
    match key.kind:
        case Kind.TEXT:
            text = f"/text{number}" if key.name in PATHS else f"text{number}"  # another begins at its file
            return key.choices[number % len(key.choices)] if key.choices else text
        case Kind.INTEGER:
            return int(key.low or 1) + number
        case Kind.NUMBER:
            return round((key.low or 0) + 0.1 * (number + 1), 2)
        case Kind.SWITCH:
            return number % 2 == 0
        case Kind.TEXTS | Kind.WORDS:
            return [f"TEXT_{number}"]
        case Kind.PAIRS:
            return [f"NAME_{number}"] if key.secret else [f"NAME={number}"]
        case Kind.SIZE:
            return 1000 + number
        case _:
            return f"127.0.0.1:{8000 + number}"


def as_words(key: Key, value: Any) -> list[str]:
    """The words of a command line that say this."""
    if key.kind is Kind.SWITCH:
        return [key.flags[0].split("/")[0 if value else 1]]
    return [key.flags[0], *value] if isinstance(value, list) else [f"{key.flags[0]}={value}"]


def as_variable(value: Any) -> str:
    """The text of a variable that says this."""
    return ",".join(value) if isinstance(value, list) else str(value).lower()


def as_file(key: Key, value: Any) -> str:
    """A file that says this."""
    section, _, name = key.name.rpartition(".")
    return yaml.safe_dump({section: {name: value}} if section else {name: value})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any setting, in an empty folder."""
    for key in KEYS:
        monkeypatch.delenv(key.environment, raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("LLM_ATC_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        run(["config", "show", "--json", *words])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    read: dict[str, dict[str, Any]] = json.loads(out)
    return read


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_each_layer_wins_over_those_below_and_is_named(
    key: Key, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [sample(key, number) for number in range(len(SOURCES))]
    before = shown(capsys)[key.name]
    assert (before["value"], before["source"]) == (key.default, "default")
    words: list[str] = []
    for number in reversed(range(0 if key.flags else 1, len(SOURCES))):
        source, value = SOURCES[number], values[number]
        more, place = say(source, key, value, home, monkeypatch)
        words += more
        now = shown(capsys, *words)[key.name]
        assert now["source"] == source
        assert (now["place"] or "").startswith(place)
        assert now["value"] == seen(key, source, value)


def say(
    source: str, key: Key, value: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], str]:
    """Let that layer say it: the words that this takes on the command line, and where the value stands."""
    spot = "2:3" if "." in key.name else "1:1"
    if source == "command line":
        return as_words(key, value), ""
    if source == "service file":
        return ["--config", str(write(home / "serve.yaml", as_file(key, value)))], f"{home}/serve.yaml:{spot}"
    if source == "environment":
        monkeypatch.setenv(key.environment, as_variable(value))
        return [], key.environment
    if source == ".env":
        write(home / ".env", f"{key.environment}={as_variable(value)}\n")
        return [], f".env:1 {key.environment}"
    write(home / ".config/llm-atc/config.yaml", as_file(key, value))
    return [], f"{home}/.config/llm-atc/config.yaml:{spot}"


def seen(key: Key, source: str, value: Any) -> Any:
    """What is shown of the value."""
    if key.secret and key.kind is Kind.TEXTS and source not in ("service file", "user config"):
        return ["***"]
    return str(value) if key.kind is Kind.SIZE and source == "command line" else value


def test_every_variable_stands_for_one_setting() -> None:
    assert len({key.environment for key in KEYS}) == len(KEYS)


def test_every_default_and_choice_is_one_that_its_setting_takes() -> None:
    from llm_atc.plan.key_values import check

    for key in KEYS:
        check(key, key.default)
        for choice in key.choices:
            check(key, choice)


def layers(*said: tuple[str, dict[str, Any]]) -> list[Layer]:
    return [Layer(source=source, values=values) for source, values in said]


def test_none_is_said_and_hides_what_lies_below() -> None:
    settled = settle(
        layers(
            ("service file", {"inference.quantization": None}), ("default", {"inference.quantization": "awq"})
        )
    )
    assert settled["inference.quantization"].value is None
    assert settled["inference.quantization"].source == "service file"


@pytest.mark.parametrize(
    ("above", "below", "gone"),
    [
        ({"cloud.name": "aws"}, {"cloud.name": "gcp", "cloud.region": "us-central1"}, ["cloud.region"]),
        ({"cloud.name": "gcp"}, {"cloud.name": "gcp", "cloud.region": "us-central1"}, []),
        ({"cloud.name": "gcp"}, {"cloud.region": "us-central1"}, []),
        ({"model.name": "b"}, {"model.name": "a", "model.source": "s3://a/b"}, ["model.source"]),
        ({"model.name": "b"}, {"model.source": "s3://a/b"}, []),
        ({"model.name": "b"}, {"serve.model_path": "/a"}, ["serve.model_path"]),
        ({"serve.model_path": "/a"}, {"model.name": "b"}, ["model.name"]),
        ({"serve.host_port": "1.2.3.4:8001"}, {"server.port": 8002}, ["server.port"]),
        (
            {"serve.backend": "vllm"},
            {"serve.backend": "llama-cpp", "serve.backend_args": {"threads": 2}},
            ["serve.backend_args"],
        ),
    ],
)
def test_another_model_cloud_or_engine_takes_nothing_from_the_one_below(
    above: dict[str, Any], below: dict[str, Any], gone: list[str]
) -> None:
    settled = settle(layers(("command line", above), ("service file", below)))
    assert {name for name in below if settled[name].source == "default"} == set(gone)


def test_whatever_follows_another_setting_is_a_setting() -> None:
    names = {key.name for key in KEYS}
    assert names >= {*FOLLOWERS, *(name for followers in FOLLOWERS.values() for name in followers)}


def test_what_only_a_cloud_has_is_left_out_of_a_file_here_and_said() -> None:
    said = {"resources.accelerators": ["L4:1"], "cloud.region": "r", "resources.spot": False}
    settled, notes = for_here(
        settle(layers(("command line", {"cloud.name": "local"}), ("service file", said)))
    )
    assert settled["resources.accelerators"].value is None
    assert settled["cloud.region"].value is None
    assert len(notes) == 2
    typed, notes = for_here(
        settle(layers(("command line", {"cloud.name": "local", "resources.accelerators": ["L4:1"]})))
    )
    assert (typed["resources.accelerators"].value, notes) == (["L4:1"], ())
