"""The trust file: whose signatures count, and until when. It is committed like code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from lora_ci.core.errors import IntegrityError, UsageError
from lora_ci.signing.keys import PublicKey, key_hint, key_id, parse_public_key, public_pem

FILE_NAME = ".lora-ci-signers.json"
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A name and its public key; trusted through the day `expires`, in UTC."""

    name: str
    key: PublicKey
    expires: date | None = None

    @property
    def id(self) -> str:
        """The key's id."""
        return key_id(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """Those who are trusted; `origin` is where that is written."""

    signers: tuple[Signer, ...]
    origin: str = FILE_NAME

    def trusted(self, name: str, today: date, what: str, *, shown_as: str = "") -> Signer:
        """The signer whose key has this id or hint; `what` was signed with it.

        A hint says little to people, so that the id is shown where it is known.

        Raises:
            IntegrityError: nobody here has that key, or it is trusted no more.
        """
        if not name:
            raise IntegrityError(f"{what}: the signature does not say which key made it")
        found = next((s for s in self.signers if name in (s.id, key_hint(s.key))), None)
        if found is None:
            raise IntegrityError(
                f"{what}: signed by key {shown_as or name}, which {self.origin} does not trust",
                hint="ask its owner for the public key, compare this id with theirs, and add the "
                f"key to {self.origin}",
            )
        if found.expires and found.expires < today:
            raise IntegrityError(
                f"{what}: signed by key {found.id} of {found.name}, trusted until {found.expires}",
                hint=f"if the key is still good, give it a later `expires` in {self.origin}; "
                "else ask for a release signed by a newer key",
            )
        return found

    def adding(self, signer: Signer) -> Signers:
        """These and one more."""
        return replace(self, signers=(*self.signers, signer))


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    name: str
    public_key: str
    expires: date | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: Literal[1]
    signers: list[_Entry]


def read_signers(path: Path) -> Signers:
    """The trust file at `path`. Raises UsageError: none there, or not in its form."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; without it nobody's signature is trusted",
            hint=f"next: get {FILE_NAME} from the team's repository, and give it with --signers",
        ) from error
    return parse_signers(data, str(path))


def parse_signers(data: bytes, origin: str) -> Signers:
    """The trust file's text as a value. A misspelt `expires` is an error, never ignored.

    Raises:
        UsageError: it is not in the form of version 1, or a key is none or stands twice.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{origin}: larger than {MAX_BYTES} bytes")
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{origin}: no trust file: {error}") from error
    signers: list[Signer] = []
    for number, entry in enumerate(file.signers):
        where = f"{origin}: signers[{number}] {entry.name[:100]!r}"
        try:
            key = parse_public_key(entry.public_key)
        except ValueError as error:
            raise UsageError(f"{where}: public_key: {error}") from error
        if any(key_id(key) == signer.id for signer in signers):
            raise UsageError(f"{where}: the key {key_id(key)} stands twice")
        signers.append(Signer(name=entry.name, key=key, expires=entry.expires))
    return Signers(signers=tuple(signers), origin=origin)


def render_signers(signers: Signers) -> bytes:
    """The text of the trust file, one line a value so that reviewers see what changes."""
    entries = [
        _Entry(name=s.name, public_key=public_pem(s.key), expires=s.expires)
        for s in signers.signers
    ]
    text = msgspec.json.encode(_File(version=1, signers=entries))
    return msgspec.json.format(text, indent=2) + b"\n"
