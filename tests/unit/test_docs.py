"""What the documentation says is what the program does."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from llm_atc import errors
from llm_atc.cli.main import app
from llm_atc.plan import diagnosis, failure_signs
from llm_atc.plan.keys import KEYS
from llm_atc.plan.model import ModelRef
from llm_atc.plan.places import read_place
from llm_atc.plan.request import check_name, read_accelerators
from llm_atc.states import State

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
EXAMPLES = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*.sh")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|\s|\(|/)llm-atc (?P<rest>[a-z-][^|;&)]*)")


def shown_commands() -> Iterator[tuple[str, str]]:
    """Every `llm-atc …` of the pages' shell blocks, with the page's name: what follows the program's name."""
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text()):
            if language not in ("bash", "sh", "console"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                for found in COMMAND.finditer(line.removeprefix("$ ")):
                    yield page.name, found["rest"]


COMMANDS = sorted(set(shown_commands()))


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that these words mean, and its options. Raises what the program itself would."""
    command: Any = typer.main.get_command(app())
    path, context = "llm-atc", None
    while hasattr(command, "commands"):
        if words == ["--version"]:
            return path, {}
        context = command.make_context(path, list(words), parent=context, resilient_parsing=True)
        if command.invoke_without_command and not context._protected_args:
            return path, context.params
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        path = f"{path} {name}"
    return path, command.make_context(path, words, parent=context).params


@pytest.mark.parametrize(("page", "text"), COMMANDS)
def test_every_command_that_is_shown_can_be_typed(page: str, text: str) -> None:
    words = shlex.split(text, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    if "--" in words:
        assert words[0] == "serve", "only serve passes words on to an engine"
        words = words[: words.index("--")]
    path, options = parse(words)
    if path == "llm-atc serve" and not options["config"]:  # a file may say all that is checked here
        model = options["model_name"] or options["positional"]
        ModelRef.parse(model, options["model_source"])
        place = read_place(options["cloud_name"], options["cloud_region"], options["cloud_zone"])
        accelerators = read_accelerators(options["resources_accelerators"] or ())
        assert not (accelerators and place.local)
        assert options["deployment_name"] is None or check_name(options["deployment_name"])


def test_the_pages_show_commands_at_all() -> None:
    assert len(COMMANDS) > 20
    assert {"serve", "status", "endpoint", "logs", "stop", "start", "down"} <= {
        text.split()[0] for _, text in COMMANDS
    }


def test_a_command_with_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="--acelerator"):
        parse(["serve", "--name", "x", "--acelerator", "A100:1"])


def test_the_four_commands_stand_in_the_readme_word_for_word() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in (
        "llm-atc serve --name llm-atc/myvicuna --source s3://my-bucket/my_vicuna/ --accelerator A100:1 "
        '-c servecluster --cloud gcp --region asia-southeast1 --envs "HF_TOKEN=<token>"',
        "llm-atc serve --name lmsys/vicuna-13b-v1.3 --accelerator A100:1 "
        '-c servecluster --cloud gcp --region asia-southeast1 --envs "HF_TOKEN=<token>"',
        "llm-atc serve --name meta-llama/Llama-2-7b-chat-hf --accelerator V100:1 "
        '-c servecluster --cloud aws --region us-east-2 --envs "HF_TOKEN=<token>"',
        "llm-atc serve --name meta-llama/Llama-2-70b-chat-hf --accelerator A100-80GB:2 "
        '-c servecluster --cloud aws --region us-east-2 --envs "HF_TOKEN=<token>"',
    ):
        assert f"\n{command}\n" in readme


def links() -> Iterator[tuple[str, str]]:
    """Every link of the pages that is no address of the web, with its page."""
    for page in PAGES:
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            if not re.match(r"https?://", target):
                yield str(page.relative_to(ROOT)), target


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_every_link_leads_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (ROOT / page).parent / path if path else ROOT / page
    assert there.exists()
    if anchor:
        assert anchor in {slug(title) for title in re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)}


def slug(title: str) -> str:
    """A heading's anchor, as GitHub and mkdocs make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs')}\n" in menu


@pytest.mark.parametrize("script", ["generate_cli.py", "generate_config.py"])
def test_what_is_made_from_the_program_is_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / script, "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, its own head left out."""
    section = (ROOT / page).read_text().partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None, f"no table below {heading!r} in {page}"
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in table[0].strip().splitlines()[2:]
    ]


def tree(kind: type[errors.AtcError]) -> Iterator[type[errors.AtcError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def test_every_error_stands_in_the_table_with_its_exit_code() -> None:
    told = {name.strip("`"): int(code) for name, code, _ in rows("docs/exit-codes.md", "## By kind of error")}
    assert told == {kind.__name__: kind.exit_code for kind in tree(errors.AtcError)}


def test_every_diagnosis_stands_in_the_table_with_its_advice() -> None:
    told = rows("docs/troubleshooting.md", "## The engine ended before it answered")
    unknown = diagnosis.diagnose("")
    known = [[sign.cause, sign.advice] for sign in failure_signs.SIGNS]
    assert told == [*known, [unknown.cause, unknown.advice]]


def test_every_state_is_explained() -> None:
    section = (ROOT / "docs" / "serving.md").read_text().partition("| state | what is true |")[2]
    assert re.findall(r"^\| (\w+) \|", section.partition("\n\n")[0], re.MULTILINE) == list(State)


def test_every_option_of_serve_is_explained() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    command: Any = typer.main.get_command(app())
    for parameter in command.commands["serve"].params:
        longest = [name for name in parameter.opts if name.startswith("--") and "_" not in name]
        denied = [name for name in parameter.secondary_opts if name.startswith("--no-")]
        explained = [all(f"`{name}" in page for name in names) for names in (longest, denied) if names]
        assert any(explained) or not longest, parameter.opts


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_whole_and_listed(example: Path) -> None:
    if example.suffix == ".sh":
        subprocess.run(["sh", "-n", example], check=True)
    else:
        ast.parse(example.read_text())
    if not example.name.startswith(("make_", "quickstart")):
        assert len(example.read_text().splitlines()) < 40
        assert f"`{example.name}`" in (ROOT / "examples" / "README.md").read_text()


def test_every_stage_that_an_error_names_stands_in_the_table() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text().partition("| stage | code |")[2].partition("\n\n")[0]
    told = set(re.findall(r"^\| ([a-z -]*[a-z]) \|", page, re.MULTILINE))
    assert told == {kind.stage for kind in tree(errors.AtcError) if kind.stage}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "configs").glob("*")), ids=lambda path: path.name
)
def test_every_example_of_a_service_file_is_listed(path: Path) -> None:
    for page in ("examples/README.md", "docs/configuration.md"):
        assert f"`{path.name}`" in (ROOT / page).read_text()


def test_every_setting_of_answers_is_explained_among_the_choices() -> None:
    page = (ROOT / "docs" / "choices.md").read_text()
    for key in KEYS:
        if key.section == "generation":
            assert f"`{key.name}`" in page
