"""Make the lists of `llm_atc/plan/data/` from the engines themselves: options, and models that they know.

python -m llm_atc.engines.options --write    write them anew, with the engines installed on this machine
python -m llm_atc.engines.options --check    exit 1 where a list no longer says what its engine says
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llm_atc.plan
from llm_atc.engines import dump_vllm_models, dump_vllm_options, installer
from llm_atc.engines.llama_cpp import fetch_source
from llm_atc.engines.llama_options import read_llama_options
from llm_atc.engines.programs import clean_environment
from llm_atc.errors import EngineError
from llm_atc.plan import llama_cpp, vllm
from llm_atc.plan.engine import Pin

_ARCHITECTURE = re.compile(r'\{\s*LLM_ARCH_\w+,\s*"([^"]+)"')
_NOTHING: tuple[object, ...] = (None, {}, [], "")
DATA = Path(llm_atc.plan.__file__).parent / "data"


def vllm_options(python: Path) -> dict[str, Any]:
    """vLLM's options, as this interpreter's vLLM tells them. Raises EngineError when it cannot."""
    return _told(python, dump_vllm_options.__file__)


def vllm_models(python: Path) -> dict[str, Any]:
    """The models and parsers that this interpreter's vLLM knows. Raises EngineError when it cannot tell."""
    return _told(python, dump_vllm_models.__file__)


def llama_models(source: Path, version: str) -> dict[str, Any]:
    """The architectures that llama.cpp's source names."""
    text = (source / "src" / "llama-arch.cpp").read_text(encoding="utf-8")
    names = _ARCHITECTURE.findall(text[text.index("LLM_ARCH_NAMES") : text.index("};")])
    # `clip` stands there for the tool that quantizes image projectors, which are no model by themselves.
    known = sorted(set(names) - {"clip", "(unknown)"})
    return {"engine": "llama-cpp", "version": version, "architectures": known}


def _told(python: Path, program: str | None) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-I", str(program)],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment() | {"VLLM_TARGET_DEVICE": "cpu", "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    if done.returncode:
        raise EngineError("vLLM did not tell what it knows.", details=tuple(done.stderr.splitlines()[-12:]))
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def text_of(found: dict[str, Any]) -> str:
    """A data file's text: one option a line, so that a difference between versions can be read."""
    head = {name: value for name, value in found.items() if name not in ("options", "configs")}
    parts = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    rows = ",\n".join(f"  {json.dumps(_slim(one), ensure_ascii=False)}" for one in found["options"])
    parts.append(f' "options": [\n{rows}\n ]')
    configs = ",\n".join(f"  {json.dumps(n)}: {json.dumps(c)}" for n, c in found.get("configs", {}).items())
    if configs:
        parts.append(f' "configs": {{\n{configs}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _slim(option: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in option.items() if value is not False and value not in _NOTHING}


def made_anew(home: Path) -> dict[str, str]:
    """The text of each data file, by its name, from engines that are installed (or installed now)."""
    engines = installer.EnginesHere(home, prefer_own=False)
    report = _Quiet()
    python = Path(engines.ensure(vllm.CPU_PIN, report)).with_name("python")
    of_vllm = vllm_options(python)
    of_llama = read_llama_options(Path(engines.ensure(llama_cpp.PIN, report)), llama_cpp.PIN.version)
    return {
        file_name(vllm.CURRENT.pin): text_of(of_vllm),
        models_name(vllm.CURRENT.pin): text_of_models(vllm_models(python)),
        file_name(llama_cpp.PIN): text_of(of_llama),
    }


def file_name(pin: Pin) -> str:
    """The name of a pinned engine's data file."""
    return f"{pin.environment}.json"


def models_name(pin: Pin) -> str:
    """The name of the file with the models that a pinned engine knows."""
    return f"{pin.environment}-models.json"


def text_of_models(found: dict[str, Any]) -> str:
    """The text of a file with models: one name a line."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def llama_models_anew() -> str:
    """The text of llama.cpp's list of models, from its source, which is fetched."""
    with tempfile.TemporaryDirectory(prefix="llm-atc-") as folder:
        source = fetch_source(llama_cpp.PIN, Path(folder), _Quiet())
        return text_of_models(llama_models(source, llama_cpp.PIN.version))


class _Quiet:
    """A Reporter that passes on what is worth waiting for."""

    def stage(self, stage: object) -> None:
        """Says nothing."""

    def expect(self, seconds: object) -> None:
        """Says nothing."""

    def line(self, text: str) -> None:
        """Says nothing."""

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 1 where `--check` finds a list that is out of date."""
    parser = argparse.ArgumentParser(prog="python -m llm_atc.engines.options", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    parser.add_argument("--home", type=Path, default=Path.home() / ".llm-atc", help="where engines lie")
    asked = parser.parse_args(argv)
    stale = []
    made = made_anew(asked.home) | {models_name(llama_cpp.PIN): llama_models_anew()}
    for name, text in made.items():
        file = DATA / name
        if asked.write:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        sys.stderr.write(f"{name} is out of date: python -m llm_atc.engines.options --write\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
