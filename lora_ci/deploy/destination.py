"""What pulls leave at a consumer's: placed files, and a small memory that refuses replays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from lora_ci.core.digest import canonical_json, sha256_file
from lora_ci.core.errors import InputError, IntegrityError
from lora_ci.deploy.disk import copy_file, copy_folder, locked, sync_folder, write_file
from lora_ci.deploy.stores import MAX_FILE_BYTES
from lora_ci.signing.files import digest_folder, list_plain, read_plain

FOLDER = ".lora-ci-pull"
MAX_STATE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`seen`: the highest number by store and channel. `placed`: the sha256s of files of ours."""

    schema: Literal["lora-ci.pull/1"] = "lora-ci.pull/1"
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    placed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder that releases are pulled to; open it with `open_destination`."""

    root: Path

    @property
    def staging(self) -> Path:
        """Where a release lies until it is verified."""
        return self.root / FOLDER / "staging"

    def see(self, store: str, channel: str, sequence: int) -> None:
        """Remembers the number of a channel. Raises IntegrityError if a higher one was seen."""
        state = self._read()
        channels = state.seen.get(store, {})
        highest = channels.get(channel, 0)
        if sequence < highest:
            raise IntegrityError(
                f"channel {channel}: its number is {sequence}, and {highest} was seen before",
                hint="someone put an old pointer back; ask the team to release again",
            )
        if sequence > highest:
            channels = {**channels, channel: sequence}
            self._write(replace(state, seen={**state.seen, store: channels}))

    def place_file(self, source: Path, name: str) -> bool:
        """Puts a verified file at `name` in one move; False if it is there.

        Raises:
            InputError: a file is there that no pull put there.
        """
        target = self.root / name
        state, digest = self._read(), sha256_file(source)
        ours = state.placed.get(name, ())
        if os.path.lexists(target):
            present = sha256_file(target) if target.is_file() else ""
            if present == digest:
                return False
            if present not in ours:
                message = f"{target} is there, and not from a pull"
                raise InputError(message, hint="move it away, then the same command again")
        if digest not in ours:
            # Before the move: a file of ours must be known as such, wherever we are killed.
            self._write(replace(state, placed={**state.placed, name: (*ours, digest)}))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        copy_file(source, partial, limit_bytes=MAX_FILE_BYTES)
        partial.replace(target)
        sync_folder(target.parent)
        return True

    def place_folder(self, source: Path, name: str) -> bool:
        """Puts a verified folder at `name` in one move; False if it is there.

        Raises:
            IntegrityError: something else is there.
        """
        target = self.root / name
        if os.path.lexists(target):
            if digest_folder(target) == digest_folder(source):
                return False
            hint = f"next: rm -r {target}, then the same command again"
            raise IntegrityError(f"{target} is there and was changed", hint=hint)
        partial = target.with_name(f".{target.name}.partial")
        copy_folder(source, partial, list_plain(source), limit_bytes=MAX_FILE_BYTES)
        partial.rename(target)
        sync_folder(target.parent)
        return True

    def _read(self) -> State:
        path = self.root / FOLDER / "state.json"
        if not os.path.lexists(path):
            return State()
        try:
            return msgspec.json.decode(read_plain(path, MAX_STATE_BYTES), type=State)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            hint = f"next: rm {path}; replays of what was seen before are not known after that"
            raise IntegrityError(f"{path}: not as pulls write it: {error}", hint=hint) from error

    def _write(self, state: State) -> None:
        write_file(self.root / FOLDER / "state.json", canonical_json(state))


@contextmanager
def open_destination(root: Path) -> Iterator[Destination]:
    """The destination at `root`, made if need be, for one pull at a time."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        yield Destination(root)
