"""Files that a request names: looked at before anything starts, and by a path that means them everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llm_atc.certificates import Certificate
from llm_atc.errors import UsageError
from llm_atc.plan.inference import is_path, is_template_text
from llm_atc.plan.model import BUCKET_SCHEMES
from llm_atc.plan.request import Request


def with_files(request: Request) -> Request:
    """The request with absolute paths. Raises UsageError for what is not there, naming the flag."""
    asked = request.inference
    template = asked.chat_template
    if template is not None and not is_template_text(template) and (not template or _is_here(template)):
        template = _file(template, "--chat-template")
    lora = tuple((name, _adapter(path, request)) for name, path in asked.lora)
    log_file = request.log_file and _writable(request.log_file)
    return replace(
        request,
        inference=replace(asked, chat_template=template, lora=lora),
        log_file=log_file or None,
        certificate=_certificate(request.tls_files),
    )


def _certificate(files: tuple[str, str] | None) -> Certificate | None:
    if files is None:
        return None
    chain, key = (_text(path, flag) for path, flag in zip(files, ("--tls-cert", "--tls-key"), strict=True))
    return Certificate.read(chain, key)


def _text(path: str, flag: str) -> str:
    try:
        return Path(_found(path, flag)).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {path} cannot be read: {error}.") from error


def _is_here(text: str) -> bool:
    """Whether this means a file here: by its look, or because there is one."""
    return is_path(text) or Path(text).exists()


def _adapter(path: str, request: Request) -> str:
    if path.startswith(BUCKET_SCHEMES):
        if request.place.local:
            raise UsageError(
                f"--lora {path}: an adapter has to lie here.",
                hint=f"llm-atc checkpoints pull {path} ./adapter",
            )
        return path
    return _found(path, "--lora") if _is_here(path) else path


def _found(text: str, flag: str) -> str:
    path = Path(text).expanduser().absolute()
    if not path.exists():
        raise UsageError(f"{flag}: there is no {path}.")
    return str(path)


def _file(text: str, flag: str) -> str:
    found = _found(text, flag)
    if not Path(found).is_file():
        raise UsageError(f"{flag} {text!r} is no file.")
    return found


def _writable(text: str) -> str:
    path = Path(text).expanduser().absolute()
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"--log-file {text}: no file can be written there.", hint=f"mkdir -p {path.parent}")
    return str(path)
