"""A configuration file as a layer: a service file, or the user's own. Nothing in it is silently ignored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from llm_atc.config import vllm_file
from llm_atc.config.document import STRING, Entry, compose, entries, kind_of, plain
from llm_atc.config.node_values import value_of
from llm_atc.config.paths import beside
from llm_atc.errors import ConfigError, UsageError
from llm_atc.plan.command_line import OptionSets
from llm_atc.plan.engine import EngineName
from llm_atc.plan.facts import read_options
from llm_atc.plan.key_values import nearest
from llm_atc.plan.keys import BY_NAME, KEYS, Kind, Value
from llm_atc.plan.layers import SERVICE_FILE, Layer

SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS))
MOST_BYTES = 1 << 20
# Names that llama-server itself does not have, and that are read there all the same.
_OLDER = ("num_gpu_layers", "max_ctx_size", "num_threads")


def read_file(path: Path, source: str, options: OptionSets) -> Layer:
    """What the file says, with its paths from the folder that it lies in. Raises ConfigError with its line
    and column."""
    layer = read_text(text_of(path), str(path), source, options)
    return replace(layer, values=beside(layer.values, path.absolute().parent))


def text_of(path: Path) -> str:
    """The file's text as it stands, its line ends too. Raises ConfigError for what cannot be one."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is larger than any configuration.")
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}.", hint="ls -l " + str(path.parent)) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text in UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def read_text(text: str, file: str, source: str, options: OptionSets) -> Layer:
    """What this text says; `file` is what it is called."""
    root = compose(text, file)
    top = {} if root is None else entries(root, file)
    if source == SERVICE_FILE and vllm_file.is_one(top, SECTIONS, options):
        return vllm_file.read(top, options)
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for name, entry in _settings(top, options):
        values[name] = value_of(BY_NAME[name], entry)
        places[name] = entry.place
        if BY_NAME[name].kind is Kind.WORDS:
            _check_options(values, entry, options)
    return Layer(source=source, values=values, places=places)


def _settings(top: dict[str, Entry], options: OptionSets) -> list[tuple[str, Entry]]:
    """Every setting that the file names, by its full name; the engine's name comes first."""
    found: list[tuple[str, Entry]] = []
    for name, section in top.items():
        if name not in SECTIONS:
            raise section.wrong(*_unknown_section(name, options))
        if name in BY_NAME:
            found.append((name, section))
        elif isinstance(section.node, yaml.MappingNode):
            found += _section(name, entries(section.node, section.file))
        elif section.node.tag == STRING and f"{name}.name" in BY_NAME:
            found.append((f"{name}.name", section))  # `model: NAME` is short for its name
        elif not section.empty:
            raise section.wrong(
                f"{name} holds settings, and this is {kind_of(section.node)}.", node=section.node
            )
    return sorted(found, key=lambda pair: pair[0] != "serve.backend")


def _section(name: str, held: dict[str, Entry]) -> list[tuple[str, Entry]]:
    found = []
    for word, entry in held.items():
        full = f"{name}.{word.replace('-', '_')}"
        if full not in BY_NAME:
            raise entry.wrong(f"{name} has no setting {word!r}." + _did_you_mean(name, word))
        found.append((full, entry))
    return found


def _unknown_section(name: str, options: OptionSets) -> tuple[str]:
    word = name.replace("-", "_")
    elsewhere = [key.name for key in KEYS if "." in key.name and key.name.partition(".")[2] == word]
    if elsewhere:
        return (f"{name!r} is no section. Did you mean {elsewhere[0]}?",)
    if f"--{name.replace('_', '-')}" in options(EngineName.VLLM).by_flag:
        return (f"{name!r} is an option of vLLM: it stands in serve.backend_args.",)
    close = nearest(word, SECTIONS)
    return (
        f"There is no section {name!r}." + (f" Did you mean {close}?" if close else f" {_list(SECTIONS)}"),
    )


def _list(names: tuple[str, ...]) -> str:
    return "There are " + ", ".join(names) + "."


def _did_you_mean(section: str, word: str) -> str:
    word = word.replace("-", "_")
    inside = [key.name.partition(".")[2] for key in KEYS if key.section == section]
    if close := nearest(word, inside):
        return f" Did you mean {section}.{close}?"
    last = {key.name.rpartition(".")[2]: key.name for key in KEYS}
    if close := nearest(word, last):
        return f" Did you mean {last[close]}?"
    return f" It has {', '.join(inside)}."


def _check_options(values: dict[str, Value], entry: Entry, options: OptionSets) -> None:
    """Hold an engine's options against its list, where the file names the engine."""
    engine = "vllm" if entry.name.replace("-", "_") == "vllm_args" else values.get("serve.backend")
    if engine not in list(EngineName) or not isinstance(entry.node, yaml.MappingNode):
        return
    known = options(EngineName(str(engine)))
    for name, one in entries(entry.node, entry.file).items():
        if name.replace("-", "_") in _OLDER:
            continue
        try:
            read_options({name: plain(one.node)}, known)
        except UsageError as error:
            raise one.wrong(error.message) from None
