"""Certificates: made, packed, and known by their fingerprint."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from llm_atc.access import Secret
from llm_atc.certificates import Certificate
from llm_atc.errors import UsageError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_made_certificate_is_signed_by_itself_and_valid_now() -> None:
    made = x509.load_pem_x509_certificate(Certificate.make("demo", NOW).chain.encode())
    assert made.subject == made.issuer
    assert made.not_valid_before_utc < NOW < made.not_valid_after_utc
    made.verify_directly_issued_by(made)


def test_its_fingerprint_is_the_one_that_others_show() -> None:
    certificate = Certificate.make("demo", NOW)
    loaded = x509.load_pem_x509_certificate(certificate.chain.encode())
    assert certificate.fingerprint == loaded.fingerprint(hashes.SHA256()).hex()


def test_its_pin_is_the_digest_of_the_public_key() -> None:
    certificate = Certificate.make("demo", NOW)
    loaded = x509.load_pem_x509_certificate(certificate.chain.encode())
    signed = loaded.tbs_certificate_bytes

    key = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key in signed
    assert certificate.pin == base64.b64encode(hashlib.sha256(key).digest()).decode()


def test_what_is_packed_is_unpacked() -> None:
    certificate = Certificate.make("demo", NOW)
    assert "\n" not in certificate.packed().reveal()
    again = Certificate.unpacked(certificate.packed())
    assert again.chain == certificate.chain
    assert again.key.reveal().strip() == certificate.key.reveal().strip()


@pytest.mark.parametrize("text", ["", "###", base64.b64encode(b"no certificate").decode()])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Certificate.unpacked(Secret(text))


def test_a_pair_of_ones_own_is_read() -> None:
    made = Certificate.make("mine", NOW)
    assert Certificate.read(made.chain, made.key.reveal()).fingerprint == made.fingerprint


def test_a_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(UsageError, match="does not belong"):
        Certificate.read(Certificate.make("a", NOW).chain, Certificate.make("b", NOW).key.reveal())


def test_files_that_hold_no_certificate_are_refused() -> None:
    with pytest.raises(UsageError, match="--tls-cert"):
        Certificate.read("hello", "world")


def test_the_private_key_is_never_shown() -> None:
    certificate = Certificate.make("demo", NOW)
    assert "PRIVATE" not in repr(certificate)
