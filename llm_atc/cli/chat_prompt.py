"""The chat at a terminal: a prompt with history, commands, and answers that Ctrl-C ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_atc.chat.blocks import printable
from llm_atc.chat.commands import COMMANDS, Command, help_lines, read_line
from llm_atc.chat.conversation import Conversation
from llm_atc.chat.parameters import PARAMETERS, Number, find_parameter, range_of, read_parameter
from llm_atc.chat.turn import Setting, Tools, Turn, ask
from llm_atc.cli.chat_screen import Approval, MarkdownScreen, PlainScreen
from llm_atc.cli.output import data, talk
from llm_atc.errors import AtcError, UsageError

if TYPE_CHECKING:
    from llm_atc.chat.endpoint import ChatEndpoint
    from llm_atc.chat.sessions import Sessions
    from llm_atc.chat.toolbox import Toolbox

NONE = ("none", "off")


@dataclass(slots=True)
class Prompt:
    """A chat at a terminal; `run` returns when the user leaves."""

    endpoint: ChatEndpoint
    model: str
    parameters: dict[str, Number]
    conversation: Conversation
    tools: Tools
    box: Toolbox | None
    sessions: Sessions
    history: Path
    yes: bool
    _left: bool = field(default=False, init=False)

    def run(self) -> None:
        """Read and answer until /quit or Ctrl-D."""
        reader = _reader(self.history)
        approval = Approval(_asked, yes=self.yes)
        console = data()
        screen = MarkdownScreen(approval, console) if console.is_terminal else PlainScreen(approval)
        talk().print(
            f"[bold]{_escaped(self.model)}[/] at {_escaped(self.endpoint.url)}   "
            "[dim]/help · Alt-Enter or \\ for a new line · Ctrl-C ends an answer · Ctrl-D leaves[/]"
        )
        while not self._left:
            try:
                line = reader()
            except EOFError:
                return
            except KeyboardInterrupt:
                continue  # what was typed is dropped, as a shell does
            self._take(line, screen)

    def _take(self, line: str, screen: MarkdownScreen | PlainScreen) -> None:
        """Do what a line says; every failure is told, and the chat goes on."""
        from llm_atc.cli.main import show_error

        if not line.strip():
            return
        try:
            said = read_line(line)
            if isinstance(said, Command):
                _DOES[said.name](self, said.argument)
                return
            setting = Setting(model=self.model, parameters=self.parameters)
            turn = ask(self.endpoint, self.conversation, said, setting, self.tools, screen)
            self.conversation = turn.conversation
            tell_cut(turn)
        except AtcError as error:
            show_error(error)
        except KeyboardInterrupt:
            talk().print("· Cancelled; the conversation is as it was before.", style="dim")

    def help(self, _: str) -> None:
        for usage, told in help_lines():
            talk().print(f"{usage:<26} {told}", markup=False)

    def clear(self, _: str) -> None:
        self.conversation = Conversation(system=self.conversation.system)
        talk().print("· Forgotten.", style="dim")

    def show_history(self, _: str) -> None:
        if not self.conversation.messages:
            talk().print("· Nothing was said yet.", style="dim")
        for message in self.conversation.messages:
            calls = "".join(f"\n⚙ {call.name} {call.arguments}" for call in message.calls)
            talk().print(f"[bold]{message.role}[/]  {_escaped(message.text + calls)}")

    def system(self, text: str) -> None:
        if text:
            self.conversation = replace(self.conversation, system=None if text in NONE else text)
        talk().print(f"· System: {printable(self.conversation.system or 'none')}", markup=False)

    def save(self, name: str) -> None:
        path = self.sessions.save(name, self.conversation, self.model)
        talk().print(f"· Kept in {path}", markup=False)

    def load(self, name: str) -> None:
        if not name:
            talk().print("· Kept: " + (", ".join(self.sessions.names()) or "none yet"), markup=False)
            return
        self.conversation = self.sessions.load(name)
        talk().print(f"· Loaded: {len(self.conversation.messages)} messages.")

    def change_model(self, name: str) -> None:
        offered = self.endpoint.models()
        if name and name not in offered:
            raise UsageError(
                f"{self.endpoint.url} has no model {name!r}. It has: {', '.join(offered)}.",
                hint=f"/model {offered[0]}" if offered else None,
            )
        self.model = name or self.model
        for one in offered:
            talk().print(f"{'*' if one == self.model else ' '} {printable(one)}", markup=False)

    def params(self, text: str) -> None:
        name, _, value = text.replace("=", " ", 1).partition(" ")
        if name and value.strip().lower() in NONE:
            self.parameters.pop(find_parameter(name), None)
        elif name:
            known, number = read_parameter(name, value.strip())
            self.parameters[known] = number
        for name in PARAMETERS:
            set_to = self.parameters.get(name, "the server's own")
            talk().print(f"{name:<18} {set_to}   ({range_of(name)})", markup=False)

    def mcp(self, _: str) -> None:
        if self.box is None:
            talk().print("· No tool servers. Give some with: llm-atc chat NAME --mcp-config FILE")
            return
        tell_servers(self.box)

    def quit(self, _: str) -> None:
        self._left = True


_DOES: dict[str, Callable[[Prompt, str], None]] = {
    "help": Prompt.help,
    "clear": Prompt.clear,
    "history": Prompt.show_history,
    "system": Prompt.system,
    "save": Prompt.save,
    "load": Prompt.load,
    "model": Prompt.change_model,
    "params": Prompt.params,
    "mcp": Prompt.mcp,
    "quit": Prompt.quit,
}


def tell_cut(turn: Turn) -> None:
    """Say so when an answer was ended by the limit of tokens."""
    if turn.answer.finish == "length":
        talk().print("· Cut short: the limit of tokens was reached.", style="dim")


def tell_servers(box: Toolbox) -> None:
    """Every server with its tools, or why it has none; on stderr."""
    for server in box.servers:
        if server.failure is not None:
            talk().print(f"{server.name}: not there: {printable(server.failure)}", markup=False)
            continue
        talk().print(f"{server.name}: {len(server.tools)} tools", markup=False)
        for name in server.tools:
            talk().print(f"  {name}   {printable(box.described(name))}", markup=False)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))


def _asked(question: str) -> str:
    """The answer to a question at the terminal; Ctrl-D is a no."""
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession(output=_output())
    try:
        return session.prompt(question)
    except EOFError:
        return "n"


def _output() -> Any:
    """Where the prompt is drawn: the terminal, also when stdout goes elsewhere."""
    from prompt_toolkit.output import create_output

    return create_output(always_prefer_tty=True)


def _reader(history: Path) -> Callable[[], str]:
    """A function that reads one input, of one line or several, with the history of that file."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def enter(event: KeyPressEvent) -> None:
        """Send; after a backslash, go on in a new line."""
        buffer = event.current_buffer
        if buffer.document.char_before_cursor == "\\":
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    history.touch(mode=0o600)
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(history)),
        key_bindings=keys,
        multiline=True,
        prompt_continuation="… ",
        completer=WordCompleter([f"/{name}" for name in COMMANDS], sentence=True),
        complete_while_typing=False,
        output=_output(),
    )
    return lambda: session.prompt("> ")
