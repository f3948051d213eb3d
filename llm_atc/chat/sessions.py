"""Conversations that are kept as files, readable by their user alone."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from llm_atc.chat.conversation import Conversation, read_conversation
from llm_atc.errors import AtcError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """The folder of kept conversations; it need not exist yet."""

    folder: Path

    def path(self, name: str) -> Path:
        """Where a conversation of that name lies: a path as given, a bare name in the folder."""
        if "/" in name or name.endswith(".json"):
            return Path(name).expanduser()
        return self.folder / f"{name}.json"

    def names(self) -> list[str]:
        """The kept conversations, the latest first."""
        found = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [path.stem for path in found]

    def save(self, name: str, conversation: Conversation, model: str) -> Path:
        """Keep it, in place of what was there; without a name, under the time. AtcError when it cannot be."""
        path = self.path(name or time.strftime("%Y-%m-%d-%H%M%S"))
        text = json.dumps(
            {"format": FORMAT, "model": model, "messages": conversation.wire()}, indent=2, ensure_ascii=False
        )
        half = path.with_name(f".{path.name}.half")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            half.replace(path)
        except OSError as error:
            raise AtcError(f"The conversation cannot be kept in {path}: {error.strerror}.") from error
        return path

    def load(self, name: str) -> Conversation:
        """The conversation of that name. AtcError when there is none, or the file holds none."""
        path = self.path(name)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return read_conversation(kept["messages"])
        except FileNotFoundError as error:
            raise AtcError(f"No conversation is kept in {path}.", hint="/load   lists them") from error
        except OSError as error:
            raise AtcError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise AtcError(f"{path} holds no conversation that /save wrote.") from error
