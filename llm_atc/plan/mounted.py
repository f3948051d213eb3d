"""What SkyPilot puts into shell commands of its own: it quotes little there, so only plain words pass."""

from __future__ import annotations

import re
from collections.abc import Iterable

from llm_atc.errors import UsageError
from llm_atc.plan.model import BUCKET_SCHEMES, ModelSpec, Where
from llm_atc.plan.request import Request

_PLAIN = re.compile(r"[\w./:@+=~%,-]+", re.ASCII)
_ENDS_QUOTES = re.compile(r"['\"\\`$]|[^ -~\w]")


def check_brought(request: Request, model: ModelSpec, files: Iterable[tuple[str, str]]) -> None:
    """The image, the checkpoint and the `files` of a cloud machine, each with where it comes from.

    Raises UsageError for an image or a bucket's address that a shell would not take as one word, and for a
    path of this machine that would end a shell's quotes.
    """
    if request.place.local:
        return
    if request.image is not None and not _PLAIN.fullmatch(request.image):
        raise UsageError(
            f"--image {request.image!r} is no image's name.", hint="--image docker:vllm/vllm-openai:v0.32.0"
        )
    checkpoint = () if model.ref.where is Where.HUB else (model.ref.location,)
    for source in (*checkpoint, *(source for _, source in files)):
        bucket = source.startswith(BUCKET_SCHEMES)
        if bucket and not _PLAIN.fullmatch(source):
            raise UsageError(
                f"{source!r} cannot be copied to a machine: an address has letters, digits and "
                "./:@+=~%,_- only.",
                hint="copy the files to such a prefix",
            )
        if not bucket and _ENDS_QUOTES.search(source):
            raise UsageError(
                f"{source!r} cannot be copied to a machine: a path has no quotes, backslashes or $.",
                hint="give the directory another name",
            )
