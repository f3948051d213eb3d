"""Cloud-config user data, turned into the shell script of a machine's first boot."""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml


def first_boot_script(user_data: str) -> str:
    """A script that does what cloud-init would: ``users``, ``write_files``, ``bootcmd`` and ``runcmd``.

    Whatever is no cloud-config gives an empty script, as unknown user data does on a real machine.
    """
    text = _decoded(user_data)
    if not text.startswith("#cloud-config"):
        return ""
    config = yaml.safe_load(text) or {}
    lines: list[str] = []
    for user in config.get("users", []):
        if isinstance(user, dict):
            lines.extend(_user(user))
    for file in config.get("write_files", []):
        path = shlex.quote(file["path"])
        lines.append(
            f'mkdir -p "$(dirname {path})" && printf %s {shlex.quote(file.get("content", ""))} > {path}'
        )
        if "permissions" in file:
            lines.append(f"chmod {shlex.quote(str(file['permissions']))} {path}")
    commands = (*config.get("bootcmd", []), *config.get("runcmd", []))
    lines.extend(each if isinstance(each, str) else shlex.join(map(str, each)) for each in commands)
    return "\n".join(lines) + "\n"


def _decoded(user_data: str) -> str:
    """boto3 encodes user data once more in some of its calls than in others."""
    try:
        return base64.b64decode(user_data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return user_data


def _user(user: Mapping[str, Any]) -> Iterator[str]:
    name = shlex.quote(user["name"])
    yield f"id {name} || useradd -m -s {shlex.quote(user.get('shell', '/bin/bash'))} {name}"
    if user.get("sudo"):
        rule = shlex.quote(f"{user['name']} {user['sudo']}\n")
        yield f"printf %s {rule} > /etc/sudoers.d/90-{name}; chmod 440 /etc/sudoers.d/90-{name}"
    keys = "".join(key.strip() + "\n" for key in user.get("ssh_authorized_keys", []))
    if keys:
        yield f"ssh=$(getent passwd {name} | cut -d: -f6)/.ssh; mkdir -p $ssh"
        yield f"printf %s {shlex.quote(keys)} >> $ssh/authorized_keys"
        yield f"chown -R {name}: $ssh; chmod 700 $ssh; chmod 600 $ssh/authorized_keys"
