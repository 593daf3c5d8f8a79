"""Signatures of folders in the OpenSSF Model Signing format, version 1.0.

A Sigstore bundle around a DSSE envelope around an in-toto statement that lists the sha256 of every
file. Source: https://github.com/sigstore/model-transparency (`model_signing`, which reads these
files and whose files are read here).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from lora_ci.core.errors import IntegrityError
from lora_ci.signing.dsse import Envelope, decode_exactly, open_envelope, sign_payload
from lora_ci.signing.keys import PrivateKey, key_hint
from lora_ci.signing.signers import Signer, Signers

FILE_NAME: Final = "model.sig"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"

Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a signature says: the sha256 of each file by name, and who says it."""

    digests: Mapping[str, str]
    signer: Signer


def sign_digests(name: str, digests: Mapping[str, str], key: PrivateKey) -> bytes:
    """The signature file of a folder called `name`, from the digests of its files alone."""
    resources = [
        _Resource(name=file, algorithm="sha256", digest=digest)
        for file, digest in sorted(digests.items())
    ]
    statement = _Statement(
        type=STATEMENT_TYPE,
        subject=(_Subject(name=name, digest=_Digest(sha256=_root(resources))),),
        predicate_type=PREDICATE_TYPE,
        predicate=_Predicate(
            serialization=_Serialization(
                method="files", hash_type="sha256", allow_symlinks=False, ignore_paths=(FILE_NAME,)
            ),
            resources=tuple(resources),
        ),
    )
    envelope = sign_payload(msgspec.json.encode(statement), PAYLOAD_TYPE, key)
    material = _Material(public_key=_KeyHint(hint=key_hint(key.public_key())))
    bundle = _Bundle(media_type=BUNDLE_TYPE, verification_material=material, dsse_envelope=envelope)
    return msgspec.json.encode(bundle)


def verify_signature(data: bytes, signers: Signers, today: date, what: str = FILE_NAME) -> Signed:
    """What a signature file says, after checking who says it; compare files with `check_folder`.

    Raises:
        IntegrityError: not of this form, by nobody who is trusted, or changed.
    """
    bundle = decode_exactly(data, _Bundle, what)
    hint = bundle.verification_material.public_key.hint
    payload, signer = open_envelope(
        bundle.dsse_envelope, PAYLOAD_TYPE, signers, today, what=what, hint=hint
    )
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{what}: the signed statement is not readable: {error}") from error
    resources = statement.predicate.resources
    digests = {r.name: r.digest for r in resources}
    if len(digests) != len(resources):
        raise IntegrityError(f"{what}: a file is signed for twice")
    if statement.subject[0].digest.sha256 != _root(resources):
        raise IntegrityError(f"{what}: the digest of all files is not that of the files listed")
    return Signed(digests=digests, signer=signer)


class _KeyHint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hint: Sha256


class _Material(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    public_key: _KeyHint
    tlog_entries: tuple[()] = ()


class _Bundle(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: Envelope


class _Digest(msgspec.Struct, frozen=True):
    sha256: Sha256


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: _Digest


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: Literal["sha256"]
    digest: Sha256


class _Serialization(msgspec.Struct, frozen=True):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: bool
    ignore_paths: tuple[str, ...] = ()


class _Predicate(msgspec.Struct, frozen=True):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(msgspec.Struct, frozen=True):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[_Subject, ...], Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"] = msgspec.field(
        name="predicateType"
    )
    predicate: _Predicate


def _root(resources: list[_Resource] | tuple[_Resource, ...]) -> str:
    """sha256 over the digests of all files, in the order in which they are listed."""
    return hashlib.sha256(b"".join(bytes.fromhex(r.digest) for r in resources)).hexdigest()
