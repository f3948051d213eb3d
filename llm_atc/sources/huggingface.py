"""Models on the Hugging Face Hub, or on whatever hub HF_ENDPOINT names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_atc.access import Secret
from llm_atc.errors import AtcError, ModelGated, ModelNotFound, SourceError
from llm_atc.plan.checkpoint import read_checkpoint
from llm_atc.plan.model import ModelRef, ModelSpec

HUB = "https://huggingface.co"
# Seconds for each of the two questions that a look asks.
TIMEOUT = 4.0
_FIRST_PART = re.compile(r"-00001-of-(\d{5})\.gguf$")
_TOKEN_HINT = "give a token that may read it: hf auth login   (for a machine of a cloud: --secret HF_TOKEN)"  # noqa: S105  a hint


class HuggingFace:
    """The hub. Without a token the one that `hf auth login` left, or HF_TOKEN, is used."""

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        """Read names and metadata, no weights; the revision is pinned to the commit of now.

        Raises ModelNotFound, ModelGated, ModelUnservable; SourceError when the hub does not answer or does
        not accept the token. Blocks for about ten seconds at most.
        """
        from huggingface_hub import HfApi, get_token

        endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        value = token.reveal() if token else get_token()
        with translated(ref, endpoint, given=value is not None):
            info = HfApi(endpoint=endpoint, token=value).model_info(
                ref.location, revision=ref.revision, files_metadata=True, timeout=TIMEOUT
            )
            sizes = {found.rfilename: found.size or 0 for found in info.siblings or ()}
            return read_checkpoint(
                ref,
                sizes,
                lambda name, length: first_bytes(endpoint, ref.location, info.sha, name, length, value),
                revision=info.sha,
            )

    def fetch_file(self, ref: ModelRef, file: str, revision: str | None, cache: Path | None = None) -> str:
        """The path of a repository's file in the hub's own cache, fetched first where it is not there.

        The first of several files (`…-00001-of-00003.gguf`) brings the others. Raises as `look` does.
        """
        from huggingface_hub import get_token, snapshot_download

        endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        token = get_token()
        with translated(ref, endpoint, given=token is not None):
            folder = snapshot_download(
                ref.location,
                revision=revision,
                allow_patterns=[_FIRST_PART.sub(r"-*-of-\1.gguf", file)],
                endpoint=endpoint,
                token=token,
                cache_dir=cache,
            )
        return f"{folder}/{file}"


def first_bytes(
    endpoint: str, repo: str, revision: str | None, name: str, length: int, token: str | None
) -> bytes:
    """The first bytes of a file. Gated repositories show their names to everybody, and refuse here."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = build_hf_headers(token=token) | {
        "Range": f"bytes=0-{length - 1}",
        "Accept-Encoding": "identity",
    }
    url = hf_hub_url(repo, name, revision=revision, endpoint=endpoint)
    found = b""
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
        hf_raise_for_status(answer)
        for piece in answer.iter_bytes():
            found += piece
            if len(found) >= length:
                break
    return found[:length]


@contextmanager
def translated(ref: ModelRef, endpoint: str, *, given: bool) -> Iterator[None]:
    """The hub's errors as llm-atc's own."""
    import httpx
    from huggingface_hub import errors as hub

    shown = _without_user(endpoint)
    try:
        yield
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError) as error:
        raise _absent(error, ref, shown, given=given) from error
    except hub.HFValidationError as error:
        raise ModelNotFound(
            f"{ref.location!r} cannot be a repository's name.", hint="--name Qwen/Qwen3-0.6B"
        ) from error
    except hub.OfflineModeIsEnabled as error:
        raise SourceError("HF_HUB_OFFLINE forbids asking the hub.", hint="unset HF_HUB_OFFLINE") from error
    except hub.HfHubHTTPError as error:
        raise _refused(error, ref, shown) from error
    except json.JSONDecodeError as error:
        raise SourceError(
            f"{shown} is not a model hub: it answers with a page of its own.", hint=f"curl -sSI {shown}"
        ) from error
    except (httpx.TransportError, httpx.InvalidURL, hub.LocalEntryNotFoundError) as error:
        raise SourceError(
            f"The model hub is out of reach: {shown} does not answer.",
            hint=_path(ref) or f"curl -sSI {shown}   (another hub: HF_ENDPOINT=https://…)",
        ) from error


def _path(ref: ModelRef) -> str | None:
    """The same name as a path, where something lies here under it: that is what was meant, probably."""
    return f"--name ./{ref.location}   (which lies here)" if Path(ref.location).exists() else None


def _absent(error: Any, ref: ModelRef, shown: str, *, given: bool) -> AtcError:
    from huggingface_hub import errors as hub

    if isinstance(error, hub.GatedRepoError):
        return ModelGated(
            f"{ref.location} is gated: "
            + ("this token's owner has not been given access." if given else "it needs a token."),
            hint=f"ask for access on {shown}/{ref.location}, then {_TOKEN_HINT}",
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return ModelNotFound(
            f"{ref.location} has no revision {ref.revision!r} on the hub ({shown}).",
            hint=f"look at its branches and commits: {shown}/{ref.location}/commits/main",
        )
    return ModelNotFound(
        f"No model {ref.location!r} on the hub ({shown}), or it is private.",
        hint=_path(ref)
        or f"look for its name: {shown}/models?search={ref.location.rsplit('/', 1)[-1]}; "
        f"for a private one {_TOKEN_HINT}",
    )


def _refused(error: Any, ref: ModelRef, shown: str) -> AtcError:
    status = error.response.status_code
    if status == 401:
        return SourceError(
            "The hub does not accept the token: it is wrong, or has been revoked.",
            hint="hf auth whoami, then give a new one: --secret HF_TOKEN",
        )
    if status == 403:
        return ModelGated(f"The hub does not let this token read {ref.location}.", hint=_TOKEN_HINT)
    return SourceError(
        f"The hub ({shown}) answered HTTP {status} for {ref.location}.", hint=f"curl -sSI {shown}"
    )


def _without_user(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
