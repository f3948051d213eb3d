"""`llm-atc fit`: what is typed, what is shown, and what is JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from examples.make_tiny_model import make
from llm_atc.cli.fit import bar, fit
from llm_atc.errors import OfferError, UsageError
from llm_atc.plan.fit import Split
from llm_atc.targets.catalogue_file import save
from tests.unit.markets import catalogue

app = typer.Typer()
app.command()(fit)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which no prices were read yet."""
    monkeypatch.setenv("LLM_ATC_HOME", str(tmp_path))
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_is_all_that_is_on_stdout(tiny: str) -> None:
    found = json.loads(run(tiny, "--accelerator", "L4:2", "--accelerator", "t4", "--json"))
    assert set(found) == {"model", "weights", "kv_cache", "verdicts"}
    assert found["model"] == "tiny"
    assert [(one["accelerator"], one["count"], one["fits"]) for one in found["verdicts"]] == [
        ("L4", 2, True),
        ("T4", 1, True),
    ]
    # Two layers of two heads with 32 + 32 values of two bytes.
    assert found["kv_cache"]["bytes_per_token"] == 2 * 2 * 64 * 2


def test_options_change_what_a_token_takes(tiny: str) -> None:
    wide = json.loads(run(tiny, "--accelerator", "L4:1", "--dtype", "float32", "--json"))
    small = json.loads(run(tiny, "--accelerator", "L4:1", "--kv-cache-dtype", "fp8", "--json"))
    assert (wide["kv_cache"]["bytes_per_token"], small["kv_cache"]["bytes_per_token"]) == (1024, 256)


def test_without_an_accelerator_each_kind_has_one_line(tiny: str) -> None:
    lines = run(tiny).splitlines()
    assert lines[0].startswith("tiny: 7.8 MiB of weights, 0.00")
    assert [line.split()[0] for line in lines if " yes " in line] == [
        f"{name}:1"
        for name in ("T4", "V100", "L4", "A10G", "L40S", "A100", "A100-80GB", "H100", "H200", "B200")
    ]


def test_prices_are_shown_once_they_were_read(tiny: str, home: Path) -> None:
    assert "$" not in run(tiny)
    save(home / "catalogue.json", catalogue())
    (found,) = json.loads(run(tiny, "--accelerator", "L4:1", "--json"))["verdicts"]
    assert (found["hourly"], found["daily"]) == (0.71, 17.04)
    assert 0 < found["dollars_per_million_tokens"] < 0.01
    shown = run(tiny)
    assert "$/HOUR" in shown
    assert "0.71" in next(line for line in shown.splitlines() if line.startswith("L4:1"))
    assert "< 0.01" in shown


def test_what_would_help_is_shown_where_it_does_not_fit(tiny: str) -> None:
    shown = run(tiny, "--accelerator", "L4:1", "--max-model-len", "9999")
    assert " no " in shown
    assert "would help: a shorter context: --max-model-len 2048" in shown


def test_what_cannot_be_read_is_said(tiny: str) -> None:
    with pytest.raises(UsageError, match="int3"):
        run(tiny, "--dtype", "int3")
    with pytest.raises(OfferError, match="Did you mean T4:1"):
        run(tiny, "--accelerator", "T5:1")


def test_a_bar_shows_where_the_memory_goes() -> None:
    assert bar(Split(weights=12, kv=6, overhead=2, free=2, outside=2)) == "|" + "█" * 12 + "▓" * 6 + "▒▒░░  |"
