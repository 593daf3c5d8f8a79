"""Takes a release out of a store: verified first, then placed where a tool looks for it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError, UsageError
from lora_ci.deploy.channels import Pointer, open_pointer
from lora_ci.deploy.destination import Destination, open_destination
from lora_ci.deploy.release import diffusers_name, kohya_name
from lora_ci.deploy.stores import Store, check_name
from lora_ci.deploy.verify import Verified, verify_release
from lora_ci.deploy.version import Version, parse_version
from lora_ci.deploy.yank import newest_usable, refuse_yanked
from lora_ci.signing.signers import Signers

DEFAULT_CHANNEL = "latest"


class Tool(StrEnum):
    """The programs that a file is placed for."""

    DIFFUSERS = "diffusers"
    COMFYUI = "comfyui"
    A1111 = "a1111"


FOLDERS = {Tool.DIFFUSERS: "", Tool.COMFYUI: "models/loras/", Tool.A1111: "models/Lora/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A LoRA at a version, or where a channel points."""

    lora: str
    version: Version | None = None
    channel: str = DEFAULT_CHANNEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was verified and placed; `changed` is False if all of it was there."""

    lora: str
    version: str
    channel: str | None
    sequence: int | None
    signer: str
    key_id: str
    files: tuple[str, ...]
    changed: bool


def pull(
    store: Store,
    wanted: Wanted,
    *,
    signers: Signers,
    destination: Path,
    tool: Tool | None,
    today: date,
    allow_yanked: bool = False,
) -> Pulled:
    """Verifies the release and places its files; a second call changes nothing.

    For a tool one file is placed, as `<lora>.safetensors` where the tool looks for it; without one
    the whole release, as `<lora>/<version>/`.

    Raises:
        InputError: there is no such release, it was yanked, or a file of another origin is in the
            way.
        IntegrityError: the release or its channel is not as signed, or out of date.
    """
    try:
        with open_destination(destination) as place:
            version, pointer = _choose(store, wanted, signers, place, today)
            if not allow_yanked:
                _check_usable(store, wanted.lora, version)
            store.fetch(wanted.lora, version, place.staging)
            verified = verify_release(place.staging, signers, today)
            _check_identity(verified, wanted.lora, version, pointer)
            name, changed = _place(verified, place, tool)
            shutil.rmtree(place.staging)
    except OSError as error:
        raise InfrastructureError(f"{destination}: {error}") from error
    return Pulled(
        lora=wanted.lora,
        version=verified.release.version,
        channel=pointer.channel if pointer else None,
        sequence=pointer.sequence if pointer else None,
        signer=verified.signer.name,
        key_id=verified.signer.id,
        files=(str(destination / name),),
        changed=changed,
    )


def parse_wanted(text: str) -> Wanted:
    """`mei`, `mei@v1.2.0` or `mei#latest` as a value. Raises UsageError."""
    try:
        if "@" in text:
            lora, _, version = text.partition("@")
            number = parse_version(version.removeprefix("v"))
            return Wanted(lora=check_name(lora), version=number)
        lora, mark, channel = text.partition("#")
        name = check_name(channel) if mark else DEFAULT_CHANNEL
        return Wanted(lora=check_name(lora), channel=name)
    except InputError as error:
        hint = "expected such as mei, mei@v1.2.0 or mei#latest"
        raise UsageError(f"{text[:100]!r}: {error}", hint=hint) from error


def _choose(
    store: Store, wanted: Wanted, signers: Signers, place: Destination, today: date
) -> tuple[Version, Pointer | None]:
    """The version that is wanted, or where the channel points; its number is remembered."""
    if wanted.version is not None:
        return wanted.version, None
    data = store.read_channel(wanted.lora, wanted.channel)
    if data is None:
        known = ", ".join(map(str, store.versions(wanted.lora)[-5:])) or "none"
        message = f"{store.address} has no channel {wanted.lora}#{wanted.channel}"
        raise InputError(message, hint=f"there is: {known}")
    pointer = open_pointer(data, wanted.lora, wanted.channel, signers, today)
    place.see(store.address, f"{wanted.lora}#{wanted.channel}", pointer.sequence)
    return pointer.number, pointer


def _check_usable(store: Store, lora: str, version: Version) -> None:
    """Raises InputError for a yanked version, with the one to take instead."""
    if store.read_yank(lora, version) is None:
        return
    other = newest_usable(store, lora)
    hint = f"next: lora-ci pull {lora}@v{other}" if other else "there is no other version"
    refuse_yanked(store, lora, version, f"{hint}; --allow-yanked takes it all the same")


def _check_identity(
    verified: Verified, lora: str, version: Version, pointer: Pointer | None
) -> None:
    """A good signature on another release is no answer."""
    found = f"{verified.release.lora} {verified.release.version}"
    if found != f"{lora} {version}":
        raise IntegrityError(f"release.json: is that of {found}, wanted was {lora} {version}")
    if pointer and pointer.release != verified.digest:
        raise IntegrityError(f"release.json: not the {found} that channel {pointer.channel} names")


def _place(verified: Verified, place: Destination, tool: Tool | None) -> tuple[str, bool]:
    """Where the files lie now, below the destination, and whether that is new."""
    lora = verified.release.lora
    if tool is None:
        name = f"{lora}/{verified.release.version}"
        return name, place.place_folder(place.staging, name)
    source = diffusers_name(lora) if tool is Tool.DIFFUSERS else kohya_name(lora)
    if verified.release.file(source) is None:
        raise IntegrityError(f"release {verified.release.version} of {lora} has no {source}")
    name = f"{FOLDERS[tool]}{lora}.safetensors"
    return name, place.place_file(place.staging / source, name)
