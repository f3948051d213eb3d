"""Google Cloud Storage in memory: over HTTP for its client libraries, and over TLS for gsutil.

SkyPilot copies ``gs://`` by gsutil, which speaks TLS only and takes no address from the environment. Its
configuration file can name another host, so the same one serves this machine and the simulated ones.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

from tests.cloud.network import Streams, free_port, listen, relay

GSUTIL_CONFIGURATION = """\
[Credentials]
gs_host = 127.0.0.1
gs_port = {port}
gs_json_host = 127.0.0.1
gs_json_port = {port}
[Boto]
ca_certificates_file = {certificate}
[GSUtil]
prefer_api = json
default_project_id = simulated-project
check_hashes = if_fast_else_skip
"""


class CloudStorage:
    """A running storage service; ``port`` speaks HTTP, ``tls_port`` TLS with ``certificate``."""

    def __init__(self, port: int, tls_port: int, certificate: Path, front: asyncio.Server) -> None:
        self.port = port
        self.tls_port = tls_port
        self.certificate = certificate
        self._front = front  # a server without a reference would be collected

    @classmethod
    async def start(cls, directory: Path) -> CloudStorage:
        """Start one; its certificate goes into this directory."""
        from gcp_storage_emulator.server import create_server  # type: ignore[import-untyped,unused-ignore]

        port = free_port()
        create_server("127.0.0.1", port, in_memory=True).start()
        certificate, key = directory / "storage.pem", directory / "storage.key"
        await asyncio.to_thread(_make_certificate, certificate, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        async def dial() -> Streams:
            return await asyncio.open_connection("127.0.0.1", port)

        listener = listen("127.0.0.1", 0)
        tls_port = listener.getsockname()[1]
        return cls(port, tls_port, certificate, await relay(dial, listener=listener, tls=context))

    def gsutil_configuration(self, certificate: str) -> str:
        """The text of a ``.boto`` file that finds this service; ``certificate`` is its path over there."""
        return GSUTIL_CONFIGURATION.format(port=self.tls_port, certificate=certificate)


def _make_certificate(certificate: Path, key: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    places = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *places], check=True, capture_output=True)
