"""An `llm-atc serve` command as the engine's own line that it means: what is not the engine's is left out."""

from __future__ import annotations

from llm_atc.plan.program_line import Program, ProgramLine
from llm_atc.plan.shell import assignment

_MODEL = frozenset({"--name", "-n", "--model"})
_ENV = frozenset({"--envs", "--env", "-e"})
_READ = frozenset({*_MODEL, *_ENV, "--backend", "--port"})
_ALONE = frozenset(
    {"--spot", "--no-auth", "--foreground", "--yes", "-y", "--dry-run", "--verbose", "-v", "--json"}
    | {"--no-setup", "--no_setup", "--detach-run", "--detach_run", "-d", "--detach-setup", "--detach_setup"}
)


def read_serve(words: list[str]) -> ProgramLine:
    """The engine's line that the words after `llm-atc serve` mean, with a note for what is llm-atc's own."""
    cut = words.index("--") if "--" in words else len(words)
    flags = _flags(words[:cut])
    model = next((value for flag, value in flags if flag in _MODEL), "")
    backend = next((value for flag, value in flags if flag == "--backend"), "")
    port = [word for flag, value in flags if flag == "--port" for word in (flag, value)]
    env = [pair for flag, value in flags if flag in _ENV and (pair := assignment(value)) is not None]
    own = [f"{flag} {value}".strip() for flag, value in flags if flag not in _READ]
    llama = backend == "llama-cpp" or (not backend and model.endswith(".gguf"))
    return ProgramLine(
        program=Program.LLAMA_SERVER if llama else Program.VLLM_SERVE,
        words=(*_model_words(model, llama=llama), *port, *words[cut + 1 :]),
        env=tuple(env),
        notes=tuple(f"{text} is llm-atc's own, and left out." for text in own),
    )


def _flags(words: list[str]) -> list[tuple[str, str]]:
    """Each flag with its value; the model that stands alone as `--name`."""
    found = []
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            flag, value = "--name", word
        elif not equals and flag not in _ALONE:
            value = next(waiting, "")
        found.append((flag, value))
    return found


def _model_words(model: str, *, llama: bool) -> tuple[str, ...]:
    if not model:
        return ()
    if not llama:
        return (model,)
    path = model.endswith(".gguf") or model.startswith(("/", ".", "~"))
    return ("-m" if path else "-hf", model)
