"""Buckets of S3, and of whatever speaks S3: the user's own AWS configuration says where and who."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from llm_atc.errors import SourceError
from llm_atc.sources.bucket import (
    CHUNK,
    CONNECT_TIMEOUT,
    LOOK_TIMEOUT,
    MOVE_TIMEOUT,
    SHA256_KEY,
    Stored,
    Sum,
    SumKind,
    Told,
    corrupt,
    md5,
    md5_of_parts,
    no_bucket,
    no_credentials,
    no_object,
    no_permission,
    unreachable,
)

MIB = 1024 * 1024
PART = 16 * MIB
MOST_PARTS = 10_000
ATTEMPTS = 5
_LOGIN = "aws configure   (or: aws sso login, or AWS_PROFILE=…)"
_REFUSED = {
    "InvalidAccessKeyId": "the AWS access key is not known there",
    "SignatureDoesNotMatch": "the AWS secret key is not the access key's",
    "ExpiredToken": "the AWS credentials have expired",
    "ExpiredTokenException": "the AWS credentials have expired",
    "InvalidToken": "the AWS session token is not valid",
    "InvalidClientTokenId": "the AWS access key is not known there",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}
_FORBIDDEN = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem", "UnauthorizedAccess"}


class S3Bucket:
    """A bucket of S3. Made impatient it gives up within ten seconds, for a look; `patient` is for moving."""

    def __init__(self, name: str, *, patient: bool = False, part_size: int = PART) -> None:
        import boto3
        from botocore.config import Config

        self._name = name
        self._address = f"s3://{name}"
        self._part_size = part_size
        with self._translated():
            session = boto3.Session()
            if session.get_credentials() is None:
                raise no_credentials(self._address, "there are no AWS credentials", _LOGIN)
            self._client = session.client(
                "s3",
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=MOVE_TIMEOUT if patient else LOOK_TIMEOUT,
                    retries={"total_max_attempts": ATTEMPTS if patient else 2, "mode": "standard"},
                    # Not every service that speaks S3 knows the newer checksums; Content-MD5 they all do.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )

    def files(self, prefix: str) -> tuple[Stored, ...]:
        """See Bucket.files."""
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
            return tuple(
                Stored(key=found["Key"], size=found["Size"])
                for page in pages
                for found in page.get("Contents", ())
                if not found["Key"].endswith("/")
            )

    def head(self, key: str, length: int) -> bytes:
        """See Bucket.head."""
        with self._translated(key):
            answer = self._client.get_object(Bucket=self._name, Key=key, Range=f"bytes=0-{length - 1}")
            with closing(answer["Body"]) as body:
                return bytes(body.read())

    def checksum(self, key: str) -> Sum | None:
        """See Bucket.checksum: what llm-atc recorded, or S3's own ETag where it is made of MD5s."""
        with self._translated(key):
            held = self._client.head_object(Bucket=self._name, Key=key)
            recorded = held["Metadata"].get(SHA256_KEY)
            if recorded:
                return Sum(kind=SumKind.SHA256, value=recorded)
            if not _made_of_md5(held):
                return None
            tag = held["ETag"].strip('"')
            if "-" not in tag:
                return Sum(kind=SumKind.MD5, value=tag)
            first = self._client.head_object(Bucket=self._name, Key=key, PartNumber=1)
            return Sum(kind=SumKind.MD5_PARTS, value=tag, part=first["ContentLength"])

    def download(self, key: str, start: int, file: BinaryIO) -> None:
        """See Bucket.download. A connection that breaks is made again where it broke."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        with self._translated(key):
            for left in reversed(range(ATTEMPTS)):
                try:
                    for piece in self._pieces(key, start):
                        file.write(piece)
                        start += len(piece)
                    return
                except (HTTPClientError, IncompleteReadError):
                    if not left:
                        raise

    def _pieces(self, key: str, start: int) -> Iterator[bytes]:
        ranged = {"Range": f"bytes={start}-"} if start else {}
        answer = self._client.get_object(Bucket=self._name, Key=key, **ranged)
        with closing(answer["Body"]) as body:
            yield from body.iter_chunks(CHUNK)

    def upload(self, path: Path, key: str, digest: str, told: Told) -> None:
        """See Bucket.upload: in one piece, or in parts; parts that arrived earlier are not sent again."""
        size = path.stat().st_size
        part = max(self._part_size, math.ceil(size / MOST_PARTS / MIB) * MIB)
        with self._translated(key):
            if size <= part:
                self._put(path, key, digest)
                told(size)
                expected = md5(path)
            else:
                expected = md5_of_parts(path, part)
                self._put_parts(path, key, digest, part, told, resume=True)
                if not self._holds(key, expected, digest):
                    # The upload that was continued belonged to another version of this file.
                    self._put_parts(path, key, digest, part, lambda _: None, resume=False)
            if not self._holds(key, expected, digest):
                raise corrupt(f"{self._address}/{key}", str(path))

    def close(self) -> None:
        """See Bucket.close."""
        self._client.close()

    def _holds(self, key: str, expected: str, digest: str) -> bool:
        held = self._client.head_object(Bucket=self._name, Key=key)
        if held["Metadata"].get(SHA256_KEY) != digest:
            return False
        return not _made_of_md5(held) or held["ETag"].strip('"') == expected

    def _put(self, path: Path, key: str, digest: str) -> None:
        with path.open("rb") as file:
            self._client.put_object(
                Bucket=self._name,
                Key=key,
                Body=file,
                ContentMD5=_base64(bytes.fromhex(md5(path))),
                Metadata={SHA256_KEY: digest},
            )

    def _put_parts(self, path: Path, key: str, digest: str, part: int, told: Told, *, resume: bool) -> None:
        upload, arrived = self._unfinished(key) if resume else (None, {})
        if upload is None:
            made = self._client.create_multipart_upload(
                Bucket=self._name, Key=key, Metadata={SHA256_KEY: digest}
            )
            upload = made["UploadId"]
        target = {"Bucket": self._name, "Key": key, "UploadId": upload}
        tags: list[dict[str, Any]] = []
        with path.open("rb") as file:
            while piece := file.read(part):
                number = len(tags) + 1
                content = hashlib.md5(piece, usedforsecurity=False)
                tag = arrived.get(number)
                if tag is None or tag.strip('"') != content.hexdigest():
                    tag = self._client.upload_part(
                        **target, PartNumber=number, Body=piece, ContentMD5=_base64(content.digest())
                    )["ETag"]
                tags.append({"PartNumber": number, "ETag": tag})
                told(len(piece))
        self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": tags})

    def _unfinished(self, key: str) -> tuple[str | None, dict[int, str]]:
        """The newest upload of this key that was broken off, and the ETags of its parts by number."""
        from botocore.exceptions import ClientError

        with suppress(ClientError):  # a policy may allow writing and not listing: then it starts afresh
            listed = self._client.list_multipart_uploads(Bucket=self._name, Prefix=key)
            begun: Sequence[dict[str, Any]] = [
                upload for upload in listed.get("Uploads", ()) if upload["Key"] == key
            ]
            if begun:
                newest = max(begun, key=lambda upload: upload["Initiated"])["UploadId"]
                pages = self._client.get_paginator("list_parts").paginate(
                    Bucket=self._name, Key=key, UploadId=newest
                )
                return newest, {p["PartNumber"]: p["ETag"] for page in pages for p in page.get("Parts", ())}
        return None, {}

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        from botocore import exceptions as boto

        address = f"{self._address}/{key}" if key else self._address
        try:
            yield
        except boto.ClientError as error:
            raise self._refused(error, address, key) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            raise no_credentials(address, "there are no complete AWS credentials", _LOGIN) from error
        except boto.ProfileNotFound as error:
            raise no_credentials(address, str(error), "aws configure list-profiles") from error
        except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError) as error:
            raise unreachable(address, self._endpoint(), "aws configure get endpoint_url") from error
        except boto.ParamValidationError as error:
            raise no_bucket(self._address, "aws s3 ls") from error
        except (boto.BotoCoreError, ValueError) as error:
            # Their messages may quote what a credential process printed: only their kind is told.
            raise no_credentials(
                address, f"the AWS configuration does not work ({type(error).__name__})", _LOGIN
            ) from error

    def _endpoint(self) -> str:
        client = getattr(self, "_client", None)
        if client is None:
            return "the service that gives credentials"
        url = str(client.meta.endpoint_url)
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def _refused(self, error: Any, address: str, key: str | None) -> SourceError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "NoSuchBucket" or (code == "404" and key is None):
            return no_bucket(self._address, "aws s3 ls")
        if code in ("NoSuchKey", "404"):
            return no_object(address)
        if code in _FORBIDDEN:
            return no_permission(
                address, f"aws sts get-caller-identity   (who am I?), then: aws s3 ls {self._address}/"
            )
        if code in _REFUSED:
            return no_credentials(address, _REFUSED[code], _LOGIN)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
        return SourceError(
            f"{address}: S3 answered {code or 'an error'} (HTTP {status}) to {error.operation_name}.",
            hint=f"aws s3 ls {self._address}/",
        )


def _made_of_md5(held: dict[str, Any]) -> bool:
    """Whether an object's ETag is made of MD5s: it is not where KMS or a customer's key encrypts it."""
    return "SSECustomerAlgorithm" not in held and not held.get("ServerSideEncryption", "").startswith("aws:")


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
