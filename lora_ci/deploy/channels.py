"""Channels: small signed pointers to a version, numbered so that an old one is known as such."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError
from lora_ci.deploy.release import Name, Sha256, Text
from lora_ci.deploy.stores import ChannelStore
from lora_ci.deploy.version import Version, parse_version
from lora_ci.signing.dsse import open_envelope, parse_envelope, render_envelope, sign_payload
from lora_ci.signing.keys import PrivateKey
from lora_ci.signing.signers import Signer, Signers

PAYLOAD_TYPE = "application/vnd.lora-ci.channel+json"
VALID_DAYS = 365
MAX_SEQUENCE = 2**53
ATTEMPTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What a channel says: the version, the sha256 of its `release.json`, good through a day."""

    schema: Literal["lora-ci.channel/1"] = "lora-ci.channel/1"
    lora: Name
    channel: Name
    version: Text
    release: Sha256
    sequence: Annotated[int, Meta(ge=1, le=MAX_SEQUENCE)]
    expires: date

    @property
    def number(self) -> Version:
        """The version as a value."""
        return parse_version(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a channel is to point."""

    lora: str
    channel: str
    version: Version
    release: str


def move_channel(store: ChannelStore, target: Target, key: PrivateKey, today: date) -> Pointer:
    """Points a channel at a release and returns what it says then.

    A channel never goes back: where it names a newer version it stays. Two writers at once both
    count: the slower one looks again.

    Raises:
        InfrastructureError: what is there cannot be read, so that no number is surely higher.
    """
    us = Signers(signers=(Signer(name="this key", key=key.public_key()),), origin="this key")
    for _ in range(ATTEMPTS):
        seen = store.read_channel(target.lora, target.channel)
        last = _last(seen, target)
        if seen and (ours := _ours(seen, target, us, today)):
            if ours.number > target.version:
                return ours
            if (ours.version, ours.release) == (str(target.version), target.release):
                return ours
        pointer = Pointer(
            lora=target.lora,
            channel=target.channel,
            version=str(target.version),
            release=target.release,
            sequence=last + 1,
            expires=today + timedelta(days=VALID_DAYS),
        )
        if store.swap_channel(target.lora, target.channel, seen, sign_pointer(pointer, key)):
            return pointer
    raise InfrastructureError(
        f"{_what(target.lora, target.channel)}: {ATTEMPTS} writers were first"
    )


def sign_pointer(pointer: Pointer, key: PrivateKey) -> bytes:
    """The text of a channel."""
    return render_envelope(sign_payload(canonical_json(pointer), PAYLOAD_TYPE, key))


def open_pointer(data: bytes, lora: str, channel: str, signers: Signers, today: date) -> Pointer:
    """What a channel says, after checking who says it, of what, and until when.

    Raises:
        IntegrityError: changed, by nobody who is trusted, of another channel, or out of date.
    """
    what = _what(lora, channel)
    envelope = parse_envelope(data, what)
    payload, _ = open_envelope(envelope, PAYLOAD_TYPE, signers, today, what=what)
    pointer = _parse(payload, lora, channel)
    if pointer.expires < today:
        raise IntegrityError(
            f"{what}: was good until {pointer.expires}; the store may hide what came after",
            hint=f"next: release again, or take a version: lora-ci pull {lora}@v{pointer.version}",
        )
    return pointer


def _parse(payload: bytes, lora: str, channel: str) -> Pointer:
    what = _what(lora, channel)
    try:
        pointer = msgspec.json.decode(payload, type=Pointer)
        parse_version(pointer.version)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError) as error:
        raise IntegrityError(f"{what}: no channel: {error}") from error
    if (pointer.lora, pointer.channel) != (lora, channel):
        shown = _what(pointer.lora, pointer.channel)
        raise IntegrityError(f"{what}: what is there was signed for {shown}")
    if canonical_json(pointer) != payload:
        raise IntegrityError(f"{what}: has fields that {pointer.schema} does not know")
    return pointer


def _last(seen: bytes | None, target: Target) -> int:
    """The number of the pointer that is there, whoever signed it; 0 for none."""
    if seen is None:
        return 0
    what = _what(target.lora, target.channel)
    try:
        last = _parse(parse_envelope(seen, what).payload, target.lora, target.channel).sequence
    except IntegrityError as error:
        hint = "put back its last good copy: readers refuse numbers lower than they have seen"
        raise InfrastructureError(str(error), hint=hint) from error
    if last >= MAX_SEQUENCE:
        raise InfrastructureError(f"{what}: its sequence cannot go higher")
    return last


def _ours(seen: bytes, target: Target, us: Signers, today: date) -> Pointer | None:
    """The pointer that is there if this very key signed it and it is still good."""
    try:
        return open_pointer(seen, target.lora, target.channel, us, today)
    except IntegrityError:
        return None


def _what(lora: str, channel: str) -> str:
    return f"channel {lora}#{channel}"
