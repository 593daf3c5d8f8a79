"""Where releases are kept: what a store must hold to, and a folder that does.

releases/<lora>/<version>/   the files of a release; never changed once there
channels/<lora>/<channel>.json   signed pointers to a version; moved by compare-and-swap
yanked/<lora>/<version>.json     marks of releases that must not be used any more
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError
from lora_ci.deploy.disk import copy_folder, locked, sync_folder, write_file
from lora_ci.deploy.release import MANIFEST, MAX_BYTES, Name
from lora_ci.deploy.version import Version, parse_version
from lora_ci.signing.files import digest_folder, list_plain, read_plain, shown

MAX_FILE_BYTES = 8 * 1024**3
MAX_CHANNEL_BYTES = 64 * 1024
MAX_YANK_BYTES = 64 * 1024
MAX_FILES = 100


class ReleaseStore(Protocol):
    """Releases by LoRA and version. Nothing that comes out is believed: verify it."""

    @property
    def address(self) -> str:
        """What tells this store from others."""
        ...

    def versions(self, lora: str) -> tuple[Version, ...]:
        """What was released, lowest first."""
        ...

    def manifest(self, lora: str, version: Version) -> bytes:
        """The text of a release's `release.json`. Raises InputError if there is no such release."""
        ...

    def fetch(self, lora: str, version: Version, into: Path) -> None:
        """Copies the files of a release into a folder made for it.

        Raises:
            InputError: there is no such release.
            IntegrityError: it holds something that is no plain file.
        """
        ...

    def publish(self, lora: str, version: Version, folder: Path) -> bool:
        """Puts the files of a folder there in one move, read back before; False if one is there.

        Killed anywhere and called again, it ends the same.
        """
        ...

    def read_yank(self, lora: str, version: Version) -> bytes | None:
        """The mark of a release that must not be used; None for one that may be."""
        ...

    def yank(self, lora: str, version: Version, mark: bytes) -> None:
        """Marks a release, or replaces its mark. The release stays as it is."""
        ...


class ChannelStore(Protocol):
    """Channels by LoRA and name: small texts that change in one move."""

    def read_channel(self, lora: str, channel: str) -> bytes | None:
        """The text, or None where the channel was never moved."""
        ...

    def swap_channel(self, lora: str, channel: str, seen: bytes | None, new: bytes) -> bool:
        """Replaces the text if it still is `seen`; False if another writer was first."""
        ...


class Store(ReleaseStore, ChannelStore, Protocol):
    """A store with both."""


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A store in a folder that all its writers share."""

    root: Path

    @property
    def address(self) -> str:
        return str(self.root.resolve())

    def versions(self, lora: str) -> tuple[Version, ...]:
        place = self._releases(lora)
        if not place.is_dir():
            return ()
        with os.scandir(place) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        return tuple(sorted(v for n in names if (v := _version(n)) is not None))

    def manifest(self, lora: str, version: Version) -> bytes:
        return read_plain(self._existing(lora, version) / MANIFEST, MAX_BYTES)

    def fetch(self, lora: str, version: Version, into: Path) -> None:
        place = self._existing(lora, version)
        names = list_plain(place)
        if nested := next((n for n in names if "/" in n), None):
            raise IntegrityError(f"{shown(nested)}: a release holds no folders")
        if len(names) > MAX_FILES:
            raise IntegrityError(f"{place}: {len(names)} files, more than {MAX_FILES}")
        copy_folder(place, into, names, limit_bytes=MAX_FILE_BYTES)

    def publish(self, lora: str, version: Version, folder: Path) -> bool:
        place = self._releases(lora) / str(version)
        _make_folder(place.parent)
        with locked(place.parent / ".lock"):
            if os.path.lexists(place):
                return False
            partial = place.with_name(f".{version}.partial")
            copy_folder(folder, partial, list_plain(folder), limit_bytes=MAX_FILE_BYTES)
            if digest_folder(partial) != digest_folder(folder):
                raise InfrastructureError(f"{partial}: the disk gave back other bytes than written")
            partial.rename(place)
            sync_folder(place.parent)
        return True

    def read_yank(self, lora: str, version: Version) -> bytes | None:
        path = self._yank(lora, version)
        return read_plain(path, MAX_YANK_BYTES) if os.path.lexists(path) else None

    def yank(self, lora: str, version: Version, mark: bytes) -> None:
        path = self._yank(lora, version)
        _make_folder(path.parent)
        with locked(path.parent / ".lock"):
            write_file(path, mark)

    def read_channel(self, lora: str, channel: str) -> bytes | None:
        path = self._channel(lora, channel)
        return read_plain(path, MAX_CHANNEL_BYTES) if os.path.lexists(path) else None

    def swap_channel(self, lora: str, channel: str, seen: bytes | None, new: bytes) -> bool:
        path = self._channel(lora, channel)
        _make_folder(path.parent)
        with locked(path.with_name(f".{channel}.lock")):
            if self.read_channel(lora, channel) != seen:
                return False
            write_file(path, new)
        return True

    def _existing(self, lora: str, version: Version) -> Path:
        place = self._releases(lora) / str(version)
        if place.is_symlink() or not place.is_dir():
            known = ", ".join(map(str, self.versions(lora)[-5:])) or "none"
            message = f"{self.root} has no release {version} of {lora}"
            raise InputError(message, hint=f"there is: {known}")
        return place

    def _releases(self, lora: str) -> Path:
        return self.root / "releases" / check_name(lora)

    def _yank(self, lora: str, version: Version) -> Path:
        return self.root / "yanked" / check_name(lora) / f"{version}.json"

    def _channel(self, lora: str, channel: str) -> Path:
        return self.root / "channels" / check_name(lora) / f"{check_name(channel)}.json"


def check_name(name: str) -> str:
    """The name of a LoRA or a channel, which becomes that of a file. Raises InputError."""
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{name[:80]!r} is no name of a LoRA or channel",
            hint="expected up to 64 of a-z, 0-9, `.`, `_` and `-`, the first a letter or digit",
        ) from error


def _version(name: str) -> Version | None:
    try:
        return parse_version(name)
    except InputError:
        return None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "is `deploy.targets` right, and is that disk there and writable?"
        raise InfrastructureError(f"{path}: {error.strerror}", hint=hint) from error
