"""The one door of the program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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


def test_a_price_below_nothing_is_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["accelerators", "--max-price", "-1"])
    assert ended.value.code == 2
    assert "--max-price -1.0 is no price" in capsys.readouterr().err
