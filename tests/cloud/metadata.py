"""The instance metadata service of one machine, as EC2 has it at 169.254.169.254 (IMDSv1 and v2).

A machine that stops itself needs it: SkyPilot's agent on AWS takes its keys from here and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus

from tests.cloud.instance import InstanceFacts, Role

ADDRESS = ("169.254.169.254", 80)
VERSIONS = ("latest/", "2021-07-15/")
LONGEST_TOKEN_SECONDS = 21600
SESSION = timedelta(hours=6)
RENEW = timedelta(minutes=30)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Short-lived credentials of a role."""

    access_key: str
    secret_key: str
    token: str


# Called with the role, the instance's id and how long the keys shall live; may block.
AssumeRole = Callable[[Role, str, timedelta], Keys]
Answer = tuple[HTTPStatus, str]


class MetadataService:
    """Answers the metadata requests of one machine; ``facts`` gives the instance as it is now."""

    def __init__(self, facts: Callable[[], InstanceFacts], assume_role: AssumeRole) -> None:
        self._facts = facts
        self._assume_role = assume_role
        self._tokens: dict[str, float] = {}
        self._keys: tuple[Keys, datetime] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one HTTP request and close."""
        try:
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            status, body = await asyncio.to_thread(self.answer, method, path, headers)
            payload = body.encode()
            writer.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: EC2ws\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
                + payload
            )
            await writer.drain()
        except (OSError, ValueError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # a client that hung up or spoke no HTTP gets no answer
        finally:
            writer.close()

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """The status and body for a request; header names are lower case. May block on STS."""
        path = path.partition("?")[0].strip("/")
        if path == "latest/api/token":
            return self._token(method, headers)
        if method != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, ""
        token = headers.get("x-aws-ec2-metadata-token")
        if (token or self._facts().imds_v2_only) and self._tokens.get(token or "", 0) < time.monotonic():
            return HTTPStatus.UNAUTHORIZED, ""
        for version in VERSIONS:
            if path.startswith(version):
                return self._entry(path.removeprefix(version))
        return (HTTPStatus.NOT_FOUND, "") if path else (HTTPStatus.OK, "latest")

    def _token(self, method: str, headers: Mapping[str, str]) -> Answer:
        if method != "PUT":
            return HTTPStatus.METHOD_NOT_ALLOWED, ""
        if "x-forwarded-for" in headers:  # EC2 refuses what came through a proxy
            return HTTPStatus.FORBIDDEN, ""
        seconds = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not seconds.isdecimal() or not 1 <= int(seconds) <= LONGEST_TOKEN_SECONDS:
            return HTTPStatus.BAD_REQUEST, ""
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(seconds)
        return HTTPStatus.OK, token

    def _entry(self, key: str) -> Answer:
        tree = self._tree()
        if key in tree:
            return HTTPStatus.OK, tree[key]()
        below = [entry.removeprefix(key + "/") for entry in tree if entry.startswith(key + "/")]
        names = sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in below})
        return (HTTPStatus.OK, "\n".join(names)) if names else (HTTPStatus.NOT_FOUND, "")

    def _tree(self) -> dict[str, Callable[[], str]]:
        facts = self._facts()
        entries = {
            "meta-data/instance-id": facts.id,
            "meta-data/instance-type": facts.instance_type,
            "meta-data/ami-id": facts.image_id,
            "meta-data/local-ipv4": facts.private_ip,
            "meta-data/local-hostname": facts.hostname,
            "meta-data/hostname": facts.hostname,
            "meta-data/placement/availability-zone": facts.zone,
            "meta-data/placement/region": facts.region,
            "meta-data/services/domain": "amazonaws.com",
            "meta-data/instance-life-cycle": "spot" if facts.spot else "on-demand",
            "dynamic/instance-identity/document": _identity(facts),
        }
        if facts.public_ip:
            entries["meta-data/public-ipv4"] = facts.public_ip
        tree: dict[str, Callable[[], str]] = {name: partial(str, value) for name, value in entries.items()}
        if (role := facts.role) is not None:
            about = {
                "Code": "Success",
                "InstanceProfileArn": role.profile_arn,
                "InstanceProfileId": role.profile_id,
            }
            tree["meta-data/iam/info"] = lambda: json.dumps(about)
            tree[f"meta-data/iam/security-credentials/{role.name}"] = lambda: self._credentials(
                facts.id, role
            )
        return tree

    def _credentials(self, instance_id: str, role: Role) -> str:
        """Keys of the role, the same ones until shortly before they end."""
        now = datetime.now(UTC)
        if self._keys is None or self._keys[1] - now < RENEW:
            self._keys = self._assume_role(role, instance_id, SESSION), now + SESSION
        keys, end = self._keys
        document = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": (end - SESSION).strftime(TIME_FORMAT),
            "AccessKeyId": keys.access_key,
            "SecretAccessKey": keys.secret_key,
            "Token": keys.token,
            "Expiration": end.strftime(TIME_FORMAT),
        }
        return json.dumps(document)


def _identity(facts: InstanceFacts) -> str:
    document = {
        "accountId": facts.account_id,
        "architecture": "x86_64",
        "availabilityZone": facts.zone,
        "imageId": facts.image_id,
        "instanceId": facts.id,
        "instanceType": facts.instance_type,
        "privateIp": facts.private_ip,
        "region": facts.region,
        "version": "2017-09-30",
    }
    return json.dumps(document)
