"""The file that `config init` writes: every setting with its help, and what was found on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from llm_atc.plan.keys import KEYS, Key, Value

HEAD = """\
# Settings of llm-atc for every launch. Above them stand the variables of .env and of the environment,
# a service file (--config), and flags. `llm-atc config show` tells which one counts.
# A line that begins with # is not read: take the # away, or use `llm-atc config set KEY VALUE`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is on this machine. `memory` is the free one in bytes; `credentials` are names with where they
    lie; `engines` are those installed; `variables` the secrets that the environment has, by name."""

    gpus: tuple[str, ...] = ()
    cpus: int = 1
    memory: int = 0
    engines: tuple[str, ...] = ()
    credentials: Mapping[str, str]
    variables: tuple[str, ...] = ()

    @property
    def clouds(self) -> bool:
        """Whether there are credentials of a cloud."""
        return bool(self.credentials.keys() - {"Hugging Face"})


def read_credentials(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Whose credentials are here, and where; none of them is opened."""
    places = {
        "AWS": ("AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", ".aws/config"),
        "Google Cloud": (
            "GOOGLE_APPLICATION_CREDENTIALS",
            ".config/gcloud/application_default_credentials.json",
        ),
        "Hugging Face": ("HF_TOKEN", ".cache/huggingface/token"),
    }
    found: dict[str, str] = {}
    for name, candidates in places.items():
        for one in candidates:
            if one.isupper() and environ.get(one):
                found.setdefault(name, one)
            elif not one.isupper() and (home / one).exists():
                found.setdefault(name, f"~/{one}")
    return found


def text(found: Found, schema: Path) -> str:
    """The file's text. Only what this machine decides is set; all else stands there as a comment."""
    lines = [f"# yaml-language-server: $schema={schema}", HEAD, *_machine(found)]
    chosen, proposed = _chosen(found), _proposed(found)
    section = ""
    for key in sorted(KEYS, key=lambda one: [k.section for k in KEYS].index(one.section)):
        dotted = "." in key.name
        if key.section != section:
            section = key.section
            lines += ["", f"{section}:"] if dotted else [""]
        indent = "  " if dotted else ""
        value = chosen.get(key.name, proposed.get(key.name, _example(key)))
        mark = "" if key.name in chosen else "#"
        lines.append(f"{indent}# {key.help} ({', '.join((*_flag(key), key.environment))})")
        lines.append(f"{indent}{mark}{key.name.rpartition('.')[2]}: {written(value)}")
    return "\n".join(lines) + "\n"


def written(value: Value) -> str:
    """A value as YAML on one line."""
    made = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return made.removesuffix("\n").removesuffix("\n...")


def _flag(key: Key) -> tuple[str, ...]:
    return (key.flag,) if key.flags else ()


def _machine(found: Found) -> list[str]:
    gpus = ", ".join(found.gpus) or "no NVIDIA GPU"
    memory = f", {found.memory / 2**30:.0f} GiB of free memory" if found.memory else ""
    held = ", ".join(f"{name} ({place})" for name, place in found.credentials.items()) or "none"
    return [
        "# Found on this machine:",
        f"#   {gpus}; {found.cpus} CPU cores{memory}",
        f"#   engines installed: {', '.join(found.engines) or 'none'}",
        f"#   credentials: {held}",
    ]


def _chosen(found: Found) -> dict[str, Value]:
    """What is set: this machine serves, where it has a GPU, or where there is no cloud to ask."""
    return {"cloud.name": "local"} if found.gpus or not found.clouds else {}


def _proposed(found: Found) -> dict[str, Value]:
    made: dict[str, Value] = {"model.name": "Qwen/Qwen3-0.6B"}
    if found.gpus:
        made["inference.gpus"] = len(found.gpus)
    if found.variables:
        made["secrets"] = list(found.variables)
    return made


def _example(key: Key) -> Value:
    """A value that can stand there; null where only the model or the machine can tell."""
    if key.default is not None:
        return key.default
    example: Value = yaml.safe_load(key.example) if key.example else None
    return example
