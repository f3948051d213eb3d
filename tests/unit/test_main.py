"""The one door of the program."""

from __future__ import annotations

import sys

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
