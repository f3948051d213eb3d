"""Whether the places that models come from can be reached, and with whose credentials."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

from llm_atc.plan.preflight import Finding, broken, ok, unknown
from llm_atc.sources.huggingface import HUB, TIMEOUT

NO_TOKEN = "No token: gated and private models cannot be read."  # noqa: S105  a sentence


def hub() -> Iterator[Finding]:
    """Whether the hub answers, and takes the token."""
    import httpx
    from huggingface_hub import get_token

    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    token = get_token()
    try:
        answer = httpx.get(
            f"{endpoint}/api/whoami-v2",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT,
        )
    except (httpx.TransportError, httpx.InvalidURL):
        yield broken("hub", f"The model hub {endpoint} does not answer.", f"curl -sSI {endpoint}")
        return
    yield ok("hub", f"The model hub {endpoint} answers.")
    if token is None:
        yield unknown("hub token", NO_TOKEN, "hf auth login   (or: export HF_TOKEN=…)")
    elif answer.status_code in (401, 403):
        yield broken("hub token", "The hub does not accept the token.", "hf auth login")
    else:
        yield ok("hub token", "There is a token, and the hub does not refuse it.")


def buckets() -> Iterator[Finding]:
    """Whether there are credentials for S3 and for Google Cloud Storage; whether they hold is not asked."""
    import boto3

    if boto3.Session().get_credentials() is None:
        yield unknown("s3", "No AWS credentials: s3:// models cannot be read.", "aws configure")
    else:
        yield ok("s3", "There are AWS credentials.")
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            google.auth.default()
    except DefaultCredentialsError:
        cure = "gcloud auth application-default login"
        yield unknown("gs", "No Google Cloud credentials: gs:// models cannot be read.", cure)
    else:
        yield ok("gs", "There are Google Cloud credentials.")
