"""The bucket as the cache needs it, over boto3, with the credentials that SkyPilot gives the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Bucket:
    """One S3 bucket. Objects appear as a whole or not at all; boto3's errors pass through."""

    def __init__(self, name: str) -> None:
        import boto3
        from botocore.config import Config

        patience = Config(
            connect_timeout=10, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}
        )
        self._client: Any = boto3.Session().client("s3", config=patience)
        self._name = name

    def read(self, key: str) -> bytes | None:
        """A small object; None where there is none."""
        try:
            found: bytes = self._client.get_object(Bucket=self._name, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        return found

    def has(self, key: str) -> bool:
        """Whether it is there."""
        listed = self._client.list_objects_v2(Bucket=self._name, Prefix=key, MaxKeys=1)
        return any(one["Key"] == key for one in listed.get("Contents", []))

    def write(self, key: str, content: bytes) -> None:
        """Put a small object there."""
        self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def download(self, key: str, path: Path) -> None:
        """Bring an object to a file, in parts side by side."""
        self._client.download_file(self._name, key, str(path), Config=_transfer(16))

    def upload(self, path: Path, key: str) -> None:
        """Take a file there, in few parts at a time: the engine serves meanwhile."""
        self._client.upload_file(str(path), self._name, key, Config=_transfer(2))


def _transfer(threads: int) -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(max_concurrency=threads, multipart_chunksize=32 * 1024 * 1024)
