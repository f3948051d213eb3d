"""The relay's side of TLS: a certificate from the environment, which never touches a disk."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping

from llm_atc.errors import SecretMissing, UsageError


def read_tls(environment: Mapping[str, str], name: str) -> ssl.SSLContext:
    """A server's context from this variable: key and chain in PEM, in base64.

    Raises SecretMissing when it is not set, UsageError when nothing can be made of it.
    """
    packed = environment.get(name, "")
    if not packed:
        raise SecretMissing(f"No certificate: the variable {name} is empty or not set.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads a certificate from a file only; this one is in memory and has no name.
    file = os.memfd_create("certificate")
    try:
        os.write(file, base64.b64decode(packed, validate=True))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except (binascii.Error, ssl.SSLError, ValueError) as error:
        raise UsageError(f"The variable {name} holds no certificate with its key.") from error
    finally:
        os.close(file)
    return context
