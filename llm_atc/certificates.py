"""Certificates for endpoints of one's own: made here, carried as one secret, known by their fingerprint."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from llm_atc.access import Secret
from llm_atc.errors import UsageError

if TYPE_CHECKING:
    import ssl

VALID_DAYS = 825  # what clients accept at most of a certificate that no authority has signed
_BEGIN = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate (its chain in PEM) with its private key (PEM), which no `repr` shows."""

    chain: str
    key: Secret

    @classmethod
    def make(cls, name: str, now: datetime) -> Certificate:
        """A self-signed one for a deployment of this name, on an elliptic curve (P-256).

        It says nothing of addresses, which change with every start: clients know it by its fingerprint.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signed = (
            x509.CertificateBuilder()
            .subject_name(called)
            .issuer_name(called)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(
            chain=signed.public_bytes(serialization.Encoding.PEM).decode(), key=Secret(private.decode())
        )

    @classmethod
    def read(cls, chain: str, key: str) -> Certificate:
        """The user's own, from the texts of two PEM files. UsageError when they are none, or no pair."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        public = serialization.PublicFormat.SubjectPublicKeyInfo
        try:
            of_chain = x509.load_pem_x509_certificates(chain.encode())[0].public_key()
            of_key = serialization.load_pem_private_key(key.encode(), None).public_key()
            same = of_chain.public_bytes(serialization.Encoding.DER, public) == of_key.public_bytes(
                serialization.Encoding.DER, public
            )
        except (ValueError, TypeError) as error:
            raise UsageError(
                "--tls-cert and --tls-key take a certificate and its key, both in PEM, with no password."
            ) from error
        if not same:
            raise UsageError("The key of --tls-key does not belong to the certificate of --tls-cert.")
        return cls(chain=chain, key=Secret(key))

    def packed(self) -> Secret:
        """All of it in one line, as a secret travels; see `unpacked`."""
        return Secret(
            base64.b64encode((self.key.reveal().rstrip("\n") + "\n" + self.chain).encode()).decode()
        )

    @classmethod
    def unpacked(cls, packed: Secret) -> Certificate:
        """What `packed` packed. UsageError for anything else."""
        try:
            text = base64.b64decode(packed.reveal(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise UsageError("The packed certificate cannot be read.") from error
        key, begin, chain = text.partition(_BEGIN)
        if not begin:
            raise UsageError("The packed certificate holds no certificate.")
        return cls(chain=begin + chain, key=Secret(key))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pin(self) -> str:
        """SHA-256 of its public key in base64, as `curl --pinnedpubkey sha256//…` takes it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        public = x509.load_der_x509_certificate(self.der).public_key()
        spki = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(hashlib.sha256(spki).digest()).decode()

    def pinned(self) -> ssl.SSLContext:
        """A client's context that takes this certificate and no other, at whatever address."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=self.leaf)
        return context

    @property
    def leaf(self) -> str:
        """The first certificate of the chain, in PEM: what clients are given."""
        end = "-----END CERTIFICATE-----\n"
        return self.chain.partition(end)[0] + end

    @property
    def der(self) -> bytes:
        """The first certificate of the chain, in DER."""
        body = self.chain.split("-----")[2]
        return base64.b64decode("".join(body.split()))
