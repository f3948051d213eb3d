"""The promises of a Vault, kept by files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from llm_atc.access import Secret
from llm_atc.store.vault import FileVault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "secrets"


@pytest.fixture
def vault(folder: Path) -> FileVault:
    return FileVault(folder)


def test_nothing_is_kept_at_first_and_asking_makes_no_file(vault: FileVault, folder: Path) -> None:
    assert vault.get("demo") == {}
    assert not folder.exists()


def test_secrets_come_back_as_they_were(vault: FileVault) -> None:
    secrets = {"HF_TOKEN": Secret('hf_"quoted" ünïcode'), "VLLM_API_KEY": Secret("sk-1,sk-2")}
    vault.put("demo", secrets)
    assert vault.get("demo") == secrets


def test_putting_again_replaces_everything(vault: FileVault) -> None:
    vault.put("demo", {"A": Secret("1"), "B": Secret("2")})
    vault.put("demo", {"A": Secret("3")})
    assert vault.get("demo") == {"A": Secret("3")}


def test_each_deployment_has_its_own_even_where_names_begin_alike(vault: FileVault) -> None:
    vault.put("qwen3-0.6b", {"A": Secret("1")})
    vault.put("qwen3-0", {"A": Secret("2")})
    vault.put("qwen3-0.7b", {"A": Secret("3")})
    vault.erase("qwen3-0")
    assert vault.get("qwen3-0.6b") == {"A": Secret("1")}
    assert vault.get("qwen3-0.7b") == {"A": Secret("3")}


def test_erasing_is_quiet_the_second_time(vault: FileVault, folder: Path) -> None:
    vault.erase("demo")
    vault.put("demo", {"A": Secret("1")})
    vault.erase("demo")
    vault.erase("demo")
    assert vault.get("demo") == {}
    assert list(folder.iterdir()) == []


def test_only_its_user_can_read_it_whatever_the_umask(vault: FileVault, folder: Path) -> None:
    before = os.umask(0)
    try:
        vault.put("demo", {"A": Secret("1")})
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600]


def test_a_file_that_others_could_read_is_closed_to_them_by_the_next_put(
    vault: FileVault, folder: Path
) -> None:
    vault.put("demo", {"A": Secret("1")})
    (file,) = folder.iterdir()
    file.chmod(0o644)
    vault.put("demo", {"A": Secret("2")})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
