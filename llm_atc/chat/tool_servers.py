"""Which tool servers there are: the `mcpServers` file that other programs use, read into values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_atc.errors import ToolError

EXAMPLE = '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "PACKAGE", "/some/folder"]}}}'
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioServer:
    """A server that is a program of this machine, spoken to over its stdin and stdout."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A server at an address, over streamable HTTP."""

    name: str
    url: str = field(repr=False)  # people put keys into it
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


ToolServer = StdioServer | HttpServer


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServers:
    """What a file says; `notes` are sentences about what in it has no effect."""

    servers: tuple[ToolServer, ...]
    notes: tuple[str, ...] = ()


class _Entry(BaseModel):
    """A server as the file writes it. Keys of other programs are allowed, and told."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str | None = None
    command: str | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    disabled: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    mcpServers: dict[str, _Entry]  # noqa: N815 - the file's own spelling


def read_tool_servers(path: Path, environ: Mapping[str, str]) -> ToolServers:
    """The servers that the file names. `${NAME}` in it stands for a variable of the environment.

    Raises ToolError when it is absent or cannot be read, saying where.
    """
    try:
        said = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ToolError(f"There is no {path}.", hint=f"write one: {EXAMPLE}") from error
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ToolError(f"{path}: {where}: {first['msg']}.", hint=EXAMPLE) from error
    except ValueError as error:
        raise ToolError(f"{path} is no JSON: {error}.", hint=EXAMPLE) from error
    found, notes = [], []
    for name, entry in said.mcpServers.items():
        if entry.disabled:
            notes.append(f"{name} is disabled in {path}.")
            continue
        found.append(_server(name, entry, path, environ))
        if entry.model_extra:
            notes.append(f"{', '.join(entry.model_extra)} of {name} in {path} has no effect here.")
    return ToolServers(servers=tuple(found), notes=tuple(notes))


def _server(name: str, entry: _Entry, path: Path, environ: Mapping[str, str]) -> ToolServer:
    def filled(text: str) -> str:
        return _VARIABLE.sub(value, text)

    def value(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise ToolError(
                f"{name} in {path} needs {found[1]}, and your environment has none.",
                hint=f"export {found[1]}=…",
            )
        return environ[found[1]]

    def all_filled(texts: Mapping[str, str]) -> dict[str, str]:
        return {key: filled(text) for key, text in texts.items()}

    if entry.type == "sse":
        raise ToolError(f"{name} in {path} is an SSE server, which MCP has given up.", hint='"type": "http"')
    if bool(entry.command) is bool(entry.url):
        raise ToolError(f"{name} in {path} has to have a command, or a url.", hint=EXAMPLE)
    if entry.url:
        return HttpServer(name=name, url=filled(entry.url), headers=all_filled(entry.headers))
    return StdioServer(
        name=name,
        command=filled(entry.command or ""),
        args=tuple(map(filled, entry.args)),
        env=all_filled(entry.env),
        cwd=entry.cwd,
    )
