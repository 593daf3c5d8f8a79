"""EC P-256 keys: made, read, named by the digest of their public half."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lora_ci.core.errors import InfrastructureError, UsageError

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

NEXT = "next: lora-ci deploy new-key, and set LORA_CI_SIGNING_KEY"


def make_key(path: Path) -> PrivateKey:
    """A new key, written to `path` for its owner alone.

    Raises:
        UsageError: something is there already; a key is never overwritten.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        hint = "choose another file; what was signed with a lost key stays signed with it"
        raise UsageError(f"{path} is there already", hint=hint) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(file, "wb") as opened:
        opened.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        opened.flush()
        os.fsync(opened.fileno())
    return key


def load_key(path: Path) -> PrivateKey:
    """The private key in a PEM file.

    Raises:
        InfrastructureError: this machine has no such key; it is no fault of what is to be signed.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise InfrastructureError(f"signing key {path}: {error.strerror}", hint=NEXT) from error
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        message = f"signing key {path}: not a PEM private key without a password"
        raise InfrastructureError(message, hint=NEXT) from error
    if not isinstance(key, PrivateKey) or key.curve.name != "secp256r1":
        raise InfrastructureError(f"signing key {path}: expected an EC P-256 key", hint=NEXT)
    return key


def parse_public_key(pem: str) -> PublicKey:
    """The public key of a PEM text. Raises ValueError if it is none on the curve P-256."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a PEM public key") from error
    if not isinstance(key, PublicKey) or key.curve.name != "secp256r1":
        raise ValueError("not an EC P-256 key")
    return key


def public_pem(key: PublicKey) -> str:
    """The PEM text of a public key."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def key_id(key: PublicKey) -> str:
    """The name of a key: hex sha256 of its SubjectPublicKeyInfo in DER."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def key_hint(key: PublicKey) -> str:
    """The name of a key in Model Signing bundles: hex sha256 of its PEM text.

    Source: https://github.com/sigstore/model-transparency, `sign_ec_key.py`
    """
    return hashlib.sha256(public_pem(key).encode()).hexdigest()
