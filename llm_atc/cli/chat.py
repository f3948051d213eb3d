"""`llm-atc chat`: talk to a model, at a terminal or in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson, Invocation, Timeout, Yes, invocation_of
from llm_atc.cli.request import NOTHING_TYPED, Typed, takes_request, with_model
from llm_atc.cli.request import ask as ask_request
from llm_atc.cli.serve import open_world
from llm_atc.plan.asked import read_keys
from llm_atc.plan.keys import BY_NAME, Value

if TYPE_CHECKING:
    from llm_atc.chat.conversation import Conversation
    from llm_atc.chat.endpoint import ChatEndpoint
    from llm_atc.chat.parameters import Number
    from llm_atc.chat.toolbox import Toolbox
    from llm_atc.ports import World

GENERATION = "generation."
# What `serve` is told and chat reads too; every other setting of a request needs --serve.
OURS = ("model.name", "server.api_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """An endpoint, and the model to ask there."""

    endpoint: ChatEndpoint
    model: str


@takes_request
def chat(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|URL|MODEL]",
            help="A deployment, the address of any OpenAI-compatible endpoint, or a model with --serve.",
            show_default=False,
        ),
    ] = None,
    typed: Typed = NOTHING_TYPED,
    system: Annotated[str | None, typer.Option("--system", help="The system text.")] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Serve the model for this chat, here unless --cloud says otherwise."),
    ] = False,
    enable_mcp: Annotated[
        bool, typer.Option("--enable-mcp", help="Let the model call the tools of MCP servers.")
    ] = False,
    mcp_config: Annotated[
        Path | None,
        typer.Option("--mcp-config", help="The servers' file, ~/.llm-atc/mcp.json if left out."),
    ] = None,
    timeout: Timeout = 3600,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Talk to a model: at a terminal with history and commands, in a pipe one question and its answer.

    echo "What is a runway?" | llm-atc chat NAME
    """
    from llm_atc.errors import Interrupted, UsageError

    if as_json and sys.stdin.isatty():
        raise UsageError("--json is for a pipe.", hint="echo hi | llm-atc chat NAME --json")
    parameters = _parameters(typed)
    invocation = invocation_of(context)
    try:
        with ExitStack() as ends:
            box = ends.enter_context(_tools(enable_mcp, mcp_config))
            if serve:
                found = ends.enter_context(_served(target, typed, invocation, yes, timeout))
            else:
                _refuse_settings(typed, invocation)
                found = _find(target, typed)
            _talk(found, parameters, system, box, yes=yes, as_json=as_json)
    except KeyboardInterrupt as error:
        raise Interrupted("Interrupted.") from error


def _parameters(typed: Typed) -> dict[str, Number]:
    """How answers are to be made, as far as it was said; UsageError for what is out of range."""
    from llm_atc.chat.parameters import PARAMETERS, check_parameter

    said = {name: typed.values.get(GENERATION + name) for name in PARAMETERS}
    return {
        name: check_parameter(name, value) for name, value in said.items() if isinstance(value, int | float)
    }


def _refuse_settings(typed: Typed, invocation: Invocation) -> None:
    from llm_atc.errors import UsageError

    for name in typed.values:
        if name not in OURS and not name.startswith(GENERATION):
            flag = BY_NAME[name].flag
            raise UsageError(f"{flag} is for a model that is served now.", hint=f"--serve {flag} …")
    if typed.config is not None:
        raise UsageError("--config is for a model that is served now.", hint="--serve --config FILE")
    if invocation.engine_args:
        raise UsageError("What follows -- is for a model that is served now.", hint="--serve … -- …")


@contextmanager
def _served(
    target: str | None,
    typed: Typed,
    invocation: Invocation,
    yes: bool,
    timeout: float,
) -> Iterator[_Target]:
    """The model, served for as long as the chat lasts."""
    from llm_atc.chat.endpoint import ChatEndpoint
    from llm_atc.cli.serving import served

    said = {name: value for name, value in typed.values.items() if not name.startswith(GENERATION)}
    whole = with_model(replace(typed, values=said), target)
    request = ask_request(whole, invocation.engine_args, cloud="local").request
    with served(open_world(), request, yes=yes, timeout=timeout) as found:
        yield _Target(
            endpoint=ChatEndpoint(url=found.url, key=found.key, certificate=found.certificate),
            model=found.model,
        )


def _find(target: str | None, typed: Typed) -> _Target:
    """What `target` names; with nothing named, the one deployment that there is."""
    from llm_atc.chat.endpoint import ChatEndpoint
    from llm_atc.errors import EndpointError

    keys = read_keys(_texts(typed.values.get("server.api_key")), os.environ)
    key, model = keys[0] if keys else None, typed.values.get("model.name")
    if target is not None and "://" in target:
        endpoint = ChatEndpoint(url=_address(target), key=key)
        if not model:
            offered = endpoint.models()
            if not offered:
                raise EndpointError(f"{endpoint.url} has no model.", hint="--model NAME")
            model = offered[0]
        return _Target(endpoint=endpoint, model=str(model))
    from llm_atc import launcher

    world = open_world()
    found = launcher.endpoint(world, target or _only(world))
    endpoint = ChatEndpoint(url=found.url, key=key or found.key, certificate=found.certificate)
    return _Target(endpoint=endpoint, model=str(model or found.model))


def _texts(value: Value) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _address(url: str) -> str:
    """The address without /v1. UsageError when it is none."""
    import httpx

    from llm_atc.errors import UsageError

    try:
        read = httpx.URL(url)
    except httpx.InvalidURL:
        read = httpx.URL("")
    if read.scheme not in ("http", "https") or not read.host:
        raise UsageError(f"{url!r} is no address.", hint="llm-atc chat http://127.0.0.1:8000")
    return url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1").rstrip("/")


def _only(world: World) -> str:
    from llm_atc.errors import DeploymentNotFound, UsageError

    names = [deployment.name for deployment in world.store.all()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise DeploymentNotFound("Nothing is deployed.", hint="llm-atc chat MODEL --serve")
    raise UsageError(f"Say with which: there are {', '.join(names)}.", hint=f"llm-atc chat {names[0]}")


@contextmanager
def _tools(enabled: bool, config: Path | None) -> Iterator[Toolbox | None]:
    """The tools of the servers that the file names; None when there are to be none."""
    if not enabled and config is None:
        yield None
        return
    from llm_atc.chat.tool_servers import read_tool_servers
    from llm_atc.chat.toolbox import toolbox
    from llm_atc.cli.chat_prompt import tell_servers
    from llm_atc.cli.output import talk
    from llm_atc.settings import Settings

    home = Settings.read(os.environ).home
    said = read_tool_servers(config or home / "mcp.json", os.environ)
    for note in said.notes:
        talk().print(f"· {note}", markup=False)
    with toolbox(said.servers, home / "mcp-logs") as box:
        tell_servers(box)
        yield box


def _talk(
    found: _Target,
    parameters: dict[str, Number],
    system: str | None,
    box: Toolbox | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from llm_atc.chat.conversation import Conversation
    from llm_atc.chat.sessions import Sessions
    from llm_atc.chat.turn import NoTools
    from llm_atc.settings import Settings

    conversation = Conversation(system=system)
    if not sys.stdin.isatty():
        _answer_once(found, parameters, conversation, box, yes=yes, as_json=as_json)
        return
    from llm_atc.cli.chat_prompt import Prompt

    home = Settings.read(os.environ).home
    Prompt(
        endpoint=found.endpoint,
        model=found.model,
        parameters=parameters,
        conversation=conversation,
        tools=box or NoTools(),
        box=box,
        sessions=Sessions(folder=home / "chats"),
        history=home / "chat-history",
        yes=yes,
    ).run()


def _answer_once(
    found: _Target,
    parameters: dict[str, Number],
    conversation: Conversation,
    box: Toolbox | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Answer what stands on stdin, on stdout."""
    from llm_atc.chat.turn import NoTools, Setting, ask
    from llm_atc.cli import output
    from llm_atc.cli.chat_prompt import tell_cut
    from llm_atc.cli.chat_screen import Approval, PlainScreen, QuietScreen
    from llm_atc.errors import UsageError

    text = sys.stdin.buffer.read().decode(errors="replace").strip()
    if not text:
        raise UsageError("There is nothing on stdin to answer.", hint="echo hi | llm-atc chat NAME")
    approval = Approval(None, yes=yes)
    screen = QuietScreen(approval) if as_json else PlainScreen(approval)
    setting = Setting(model=found.model, parameters=parameters)
    turn = ask(found.endpoint, conversation, text, setting, box or NoTools(), screen)
    tell_cut(turn)
    if as_json:
        output.print_json(
            {
                "model": found.model,
                "answer": turn.answer.text,
                "reasoning": turn.answer.thought or None,
                "finish_reason": turn.answer.finish,
                "usage": dict(turn.answer.usage) if turn.answer.usage else None,
                "tool_calls": [
                    {"name": call.name, "arguments": call.arguments, "result": result}
                    for call, result in turn.calls
                ],
            }
        )
