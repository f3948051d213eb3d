"""Secrets that a later start needs: a file for each deployment, which its user alone can read."""

from __future__ import annotations

import json
import os
from pathlib import Path

from llm_atc.access import Secret
from llm_atc.ports import Secrets


class FileVault:
    """The Vault, as files of mode 0600 in a directory of mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, secrets: Secrets) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(name)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        text = json.dumps({key: value.reveal() for key, value in secrets.items()})
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        partial.replace(path)

    def get(self, name: str) -> Secrets:
        try:
            found = json.loads(self._path(name).read_text())
        except FileNotFoundError:
            return {}
        return {key: Secret(value) for key, value in found.items()}

    def erase(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
