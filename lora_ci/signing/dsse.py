"""Signed payloads: DSSE envelopes with one ECDSA P-256 signature.

Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Meta

from lora_ci.core.errors import IntegrityError
from lora_ci.signing.keys import PrivateKey, key_id
from lora_ci.signing.signers import Signer, Signers

T = TypeVar("T", bound=msgspec.Struct)

MAX_BYTES = 4 * 1024 * 1024


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signature's bytes, and the id of its key (not signed itself)."""

    sig: bytes
    keyid: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A payload, what kind it is, and who vouches for both."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]


def sign_payload(payload: bytes, payload_type: str, key: PrivateKey) -> Envelope:
    """The payload in an envelope signed by `key`."""
    sig = key.sign(_pre_authentication(payload, payload_type), ec.ECDSA(SHA256()))
    signature = Signature(sig=sig, keyid=key_id(key.public_key()))
    return Envelope(payload=payload, payload_type=payload_type, signatures=(signature,))


def open_envelope(
    envelope: Envelope,
    payload_type: str,
    signers: Signers,
    today: date,
    *,
    what: str,
    hint: str | None = None,
) -> tuple[bytes, Signer]:
    """The payload and who signed it; `hint` names the key where the envelope is part of a bundle.

    Raises:
        IntegrityError: another type, no trusted signer, or not what they signed.
    """
    if envelope.payload_type != payload_type:
        shown = envelope.payload_type[:80]
        raise IntegrityError(f"{what}: holds {shown!r}, expected {payload_type!r}")
    if len(envelope.signatures) != 1:
        raise IntegrityError(f"{what}: {len(envelope.signatures)} signatures, expected 1")
    signature = envelope.signatures[0]
    name = signature.keyid if hint is None else hint
    signer = signers.trusted(name, today, what, shown_as=signature.keyid)
    if signature.keyid not in ("", signer.id):
        raise IntegrityError(f"{what}: names two keys, {signer.id} and {signature.keyid}")
    signed = _pre_authentication(envelope.payload, payload_type)
    try:
        signer.key.verify(signature.sig, signed, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        message = f"{what}: the signature is not that of {signer.name} (key {signer.id})"
        raise IntegrityError(message, hint="it was changed after signing; get it again") from error
    return envelope.payload, signer


def parse_envelope(data: bytes, what: str) -> Envelope:
    """An envelope from its file. Raises IntegrityError."""
    return decode_exactly(data, Envelope, what)


def render_envelope(envelope: Envelope) -> bytes:
    """An envelope as the text of a file."""
    return msgspec.json.encode(envelope)


def decode_exactly(data: bytes, kind: type[T], what: str) -> T:
    """A value from the one text that stands for it, so that no byte of a signed file is loose.

    Signatures do not cover the envelope around them, and base64 has several texts for some bytes.
    Raises IntegrityError.
    """
    if len(data) > MAX_BYTES:
        raise IntegrityError(f"{what}: larger than {MAX_BYTES} bytes")
    try:
        value = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{what}: no signature of a known form: {error}") from error
    if msgspec.json.encode(value) != data:
        raise IntegrityError(f"{what}: not byte for byte as signers write it")
    return value


def _pre_authentication(payload: bytes, payload_type: str) -> bytes:
    """What is signed: type and payload, each behind its length."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
