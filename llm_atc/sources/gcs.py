"""Buckets of Google Cloud Storage, with the user's application default credentials."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from llm_atc.errors import SourceError
from llm_atc.sources.bucket import (
    CONNECT_TIMEOUT,
    LOOK_TIMEOUT,
    MOVE_TIMEOUT,
    SHA256_KEY,
    Stored,
    Sum,
    SumKind,
    Told,
    corrupt,
    no_bucket,
    no_credentials,
    no_object,
    no_permission,
    unreachable,
)

_LOGIN = "gcloud auth application-default login"
_GOOGLE = "https://storage.googleapis.com"
LOOK_DEADLINE = 4
MOVE_DEADLINE = 120


class GcsBucket:
    """A bucket of Google Cloud Storage. Made impatient it gives up within ten seconds, for a look."""

    def __init__(self, name: str, *, patient: bool = False) -> None:
        # Read when google.auth is imported: how long to look for a Google machine's own credentials.
        os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
        from google.cloud import storage
        from google.cloud.storage.retry import DEFAULT_RETRY

        self._address = f"gs://{name}"
        self._name = name
        self._how: dict[str, Any] = {
            "timeout": (CONNECT_TIMEOUT, MOVE_TIMEOUT if patient else LOOK_TIMEOUT),
            "retry": DEFAULT_RETRY.with_timeout(MOVE_DEADLINE if patient else LOOK_DEADLINE),
        }
        with self._translated():
            # A project is asked for, and not used: objects belong to buckets.
            self._client = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT") or "llm-atc")
        self._bucket = self._client.bucket(name)

    def files(self, prefix: str) -> tuple[Stored, ...]:
        """See Bucket.files."""
        with self._translated():
            return tuple(
                Stored(key=blob.name, size=blob.size or 0)
                for blob in self._client.list_blobs(self._name, prefix=prefix, **self._how)
                if not blob.name.endswith("/")
            )

    def head(self, key: str, length: int) -> bytes:
        """See Bucket.head."""
        with self._translated(key):
            return bytes(
                self._bucket.blob(key).download_as_bytes(
                    start=0, end=length - 1, raw_download=True, checksum=None, **self._how
                )
            )

    def checksum(self, key: str) -> Sum | None:
        """See Bucket.checksum: what llm-atc recorded, or Google's own MD5, or CRC-32C."""
        with self._translated(key):
            blob = self._bucket.get_blob(key, **self._how)
        if blob is None:
            raise no_object(f"{self._address}/{key}")
        recorded = (blob.metadata or {}).get(SHA256_KEY)
        if recorded:
            return Sum(kind=SumKind.SHA256, value=recorded)
        if blob.md5_hash:
            return Sum(kind=SumKind.MD5, value=_hexadecimal(blob.md5_hash))
        return Sum(kind=SumKind.CRC32C, value=_hexadecimal(blob.crc32c)) if blob.crc32c else None

    def download(self, key: str, start: int, file: BinaryIO) -> None:
        """See Bucket.download."""
        with self._translated(key):
            self._bucket.blob(key).download_to_file(
                file, start=start or None, raw_download=True, checksum=None, **self._how
            )

    def upload(self, path: Path, key: str, digest: str, told: Told) -> None:
        """See Bucket.upload: a file is sent again from its beginning; Google checks its CRC-32C."""
        from google.cloud.storage.exceptions import DataCorruption

        blob = self._bucket.blob(key)
        blob.metadata = {SHA256_KEY: digest}
        size = path.stat().st_size
        with self._translated(key), path.open("rb") as file:
            try:
                blob.upload_from_file(
                    _Heard(file, told),
                    size=size,
                    content_type="application/octet-stream",
                    checksum="crc32c",
                    **self._how,
                )
            except DataCorruption as error:
                raise corrupt(f"{self._address}/{key}", str(path)) from error

    def close(self) -> None:
        """See Bucket.close."""
        self._client.close()

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        import requests
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from google.cloud.storage.exceptions import InvalidResponse

        address = f"{self._address}/{key}" if key else self._address
        try:
            yield
        except auth.DefaultCredentialsError as error:
            raise no_credentials(address, "there are no Google Cloud credentials", _LOGIN) from error
        except (auth.TransportError, requests.RequestException, api.RetryError) as error:
            raise unreachable(address, _endpoint(), "gcloud info --run-diagnostics") from error
        except auth.GoogleAuthError as error:
            # Its message may quote the answer of a token's endpoint: only its kind is told.
            raise no_credentials(
                address, f"the Google Cloud credentials do not work ({type(error).__name__})", _LOGIN
            ) from error
        except InvalidResponse as error:
            raise self._refused(error.response.status_code, address, key) from error
        except api.GoogleAPICallError as error:
            raise self._refused(int(error.code or 0), address, key) from error

    def _refused(self, status: int, address: str, key: str | None) -> SourceError:
        if status == 404:
            return no_object(address) if key else no_bucket(self._address, "gcloud storage ls")
        if status == 401:
            return no_credentials(address, "Google Cloud does not accept the credentials", _LOGIN)
        if status == 403:
            return no_permission(
                address, f"gcloud auth list   (who am I?), then: gcloud storage ls {self._address}/"
            )
        return SourceError(
            f"{address}: Google Cloud Storage answered HTTP {status}.",
            hint=f"gcloud storage ls {self._address}/",
        )


class _Heard:
    """A file that tells of bytes as they are read for the first time."""

    def __init__(self, file: BinaryIO, told: Told) -> None:
        self._file = file
        self._told = told
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        position = self._file.tell()
        if position > self._furthest:
            self._told(position - self._furthest)
            self._furthest = position
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _hexadecimal(encoded: str) -> str:
    return base64.b64decode(encoded).hex()


def _endpoint() -> str:
    url = os.environ.get("STORAGE_EMULATOR_HOST") or _GOOGLE
    scheme, found, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else url.rpartition("@")[2]
