"""Tool servers, started and asked through MCP, from a thread of their own.

`mcp` is asynchronous and the chat is not: the servers live in the event loop of one background thread, each
in one task that enters and leaves its client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from llm_atc.chat.tool_servers import HttpServer, StdioServer, ToolServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp import Client
    from mcp_types import CallToolResult, Tool

START_SECONDS = 30.0
CALL_SECONDS = 300.0
END_SECONDS = 10.0
NAME_LENGTH = 64  # of a function, in the OpenAI API
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(slots=True)
class Connected:
    """A server as it turned out: its tools, or `failure`, a sentence that says why it has none."""

    name: str
    tools: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(slots=True)
class Toolbox:
    """The tools of every server that runs, each under `SERVER__TOOL`."""

    portal: BlockingPortal
    servers: list[Connected] = field(default_factory=list)
    _tools: dict[str, tuple[Client, Tool]] = field(default_factory=dict)

    def add(self, server: str, client: Client, tools: Iterable[Tool]) -> None:
        """Offer these tools of a server."""
        names = []
        for tool in tools:
            name = self._free_name(f"{server}__{tool.name}")
            self._tools[name] = (client, tool)
            names.append(name)
        self.servers.append(Connected(server, tuple(names)))

    def _free_name(self, wished: str) -> str:
        plain = _NOT_IN_NAME.sub("_", wished)[:NAME_LENGTH]
        name, number = plain, 1
        while name in self._tools:
            number += 1
            name = f"{plain[: NAME_LENGTH - len(str(number)) - 1]}_{number}"
        return name

    def offered(self) -> list[dict[str, Any]]:
        """Each tool as a request's `tools` describes it."""
        return [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": tool.description or "",
                    "parameters": tool.input_schema,
                },
            }
            for name, (_, tool) in self._tools.items()
        ]

    def described(self, name: str) -> str:
        """The first line of what a tool says of itself."""
        return ((self._tools[name][1].description or "").strip().splitlines() or [""])[0]

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The tool's result as text; a failure is told in the same way, for the model to read."""
        if name not in self._tools:
            return f"There is no tool {name!r}. There are: {', '.join(self._tools)}."
        client, tool = self._tools[name]
        running = self.portal.start_task_soon(client.call_tool, tool.name, arguments)
        try:
            result: CallToolResult = running.result()
        except KeyboardInterrupt:
            running.cancel()
            raise
        except (Exception, CancelledError) as error:  # noqa: BLE001 - a server's failure is a result
            return f"The tool failed: {_reason(error)}"
        return result_text(result)


def result_text(result: CallToolResult) -> str:
    """A result's texts; what is no text is named."""
    parts = []
    for block in result.content:
        text = getattr(block, "text", None) or getattr(getattr(block, "resource", None), "text", None)
        parts.append(text if isinstance(text, str) else f"[{block.type}]")
    told = "\n".join(parts)
    return f"The tool failed: {told}" if result.is_error else told


@contextmanager
def toolbox(servers: Iterable[ToolServer], logs: Path) -> Iterator[Toolbox]:
    """The tools of these servers, which end with the context; one that does not start is named as failed.

    What a server's program says on stderr goes to a file of its name below `logs`.
    """
    with ExitStack() as ends, start_blocking_portal() as portal:
        box = Toolbox(portal)
        begun = [(server, *_start(portal, server, _log(logs, server, ends))) for server in servers]
        try:
            for server, ready, running in begun:
                try:
                    client, tools = ready.result(START_SECONDS)
                except TimeoutError:
                    running.cancel()
                    failure = f"it did not start within {START_SECONDS:.0f} s"
                except (Exception, CancelledError) as error:  # noqa: BLE001 - told by name, and the chat goes on
                    failure = _reason(error)
                else:
                    box.add(server.name, client, tools)
                    continue
                box.servers.append(Connected(server.name, failure=_with_log(failure, logs, server)))
            yield box
        finally:
            for _, _, running in begun:
                running.cancel()


def _start(
    portal: BlockingPortal, server: ToolServer, log: TextIO
) -> tuple[Future[tuple[Client, list[Tool]]], Future[None]]:
    ready: Future[tuple[Client, list[Tool]]] = Future()

    async def live() -> None:
        from mcp import Client

        async with _transport(server, log) as transport:
            client = Client(transport, read_timeout_seconds=CALL_SECONDS)
            async with client:
                ready.set_result((client, await _all_tools(client)))
                await anyio.sleep_forever()

    running = portal.start_task_soon(live)

    def ended(task: Future[None]) -> None:
        if not ready.done():
            error = None if task.cancelled() else task.exception()
            ready.set_exception(error or EOFError("it ended"))

    running.add_done_callback(ended)
    return ready, running


async def _all_tools(client: Client) -> list[Tool]:
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools


@asynccontextmanager
async def _transport(server: ToolServer, log: TextIO) -> AsyncIterator[Any]:
    """How to reach the server, as `Client` takes it."""
    if isinstance(server, StdioServer):
        from mcp import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(
            command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
        )
        yield stdio_client(parameters, errlog=log)
        return
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    timeout = httpx2.Timeout(START_SECONDS, read=CALL_SECONDS)
    async with httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout) as http:
        yield streamable_http_client(server.url, http_client=http)


def _log_path(logs: Path, server: ToolServer) -> Path:
    return logs / f"{_NOT_IN_NAME.sub('_', server.name)}.log"


def _log(logs: Path, server: ToolServer, ends: ExitStack) -> TextIO:
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ends.enter_context(_log_path(logs, server).open("w", encoding="utf-8"))


def _with_log(failure: str, logs: Path, server: ToolServer) -> str:
    """The failure with the last thing that the server's program said."""
    if isinstance(server, HttpServer):
        return failure.replace(server.url, "its address")  # which may hold a key
    said = _log_path(logs, server).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{failure}; its last words: {said[-1][:200]}" if said else failure


def _reason(error: BaseException) -> str:
    """What the innermost failure says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{error}".strip() or type(error).__name__
