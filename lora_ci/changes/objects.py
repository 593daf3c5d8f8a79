"""Where DVC keeps bytes: the local cache and the remote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lora_ci.changes.dvc_config import DvcConfig, read_dvc_config
from lora_ci.changes.git import Repository, open_repository
from lora_ci.core.errors import InfrastructureError

# DVC 3 keeps `files/md5/ab/cdef`, DVC 2 kept `ab/cdef`.
LAYOUTS = ("files/md5", "")


class Objects(Protocol):
    """DVC objects by md5."""

    def find(self, md5: str) -> Path | None:
        """A local file that holds the object, cache first; None if it is nowhere."""
        ...

    def mend(self, path: Path) -> str:
        """What to do if the file that was found is damaged."""
        ...

    def not_pushed(self, md5s: Iterable[str]) -> frozenset[str]:
        """Those that another machine could not fetch.

        Raises:
            InfrastructureError: the remote cannot be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderObjects:
    """A cache folder and, if one is configured, a remote that is a folder."""

    cache: Path
    remote: Path | None
    name: str = ""
    _names: dict[Path, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def find(self, md5: str) -> Path | None:
        return in_folder(self.cache, md5) or (self.remote and in_folder(self.remote, md5)) or None

    def mend(self, path: Path) -> str:
        if self.remote and path.is_relative_to(self.remote) and self.remote != self.cache:
            whole = f"dvc push -r {self.name}, from a machine whose copy is whole"
            return f"next: rm {path}, then {whole}"
        return f"next: rm {path} && dvc pull"

    def not_pushed(self, md5s: Iterable[str]) -> frozenset[str]:
        # Without a remote there is no other machine: the cache is all there is.
        if self.remote and not self.remote.is_dir():
            message = f"the DVC remote `{self.name}` is not there: no folder {self.remote}"
            hint = "next: mount it; or, if nothing was ever pushed: dvc push"
            raise InfrastructureError(message, hint=hint)
        place = self.remote or self.cache
        by_prefix: dict[str, list[str]] = {}
        for md5 in md5s:
            by_prefix.setdefault(md5[:2], []).append(md5)
        absent: list[str] = []
        for prefix, wanted in by_prefix.items():
            left = wanted
            for layout in LAYOUTS:
                there = self._listed(place / layout / prefix) if left else ()
                left = [md5 for md5 in left if md5[2:] not in there]
            absent += left
        # What was pushed since a folder was listed.
        return frozenset(md5 for md5 in absent if in_folder(place, md5) is None)

    def _listed(self, folder: Path) -> frozenset[str]:
        """The files in a folder: one listing is far cheaper than a look for each of them."""
        if folder not in self._names:
            self._names[folder] = frozenset(_files(folder))
        return self._names[folder]


def in_folder(root: Path, md5: str) -> Path | None:
    """The object in a cache or remote of either layout."""
    for layout in LAYOUTS:
        path = root / layout / md5[:2] / md5[2:]
        if path.is_file():
            return path
    return None


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if _is_file(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # such as a link to itself


def open_objects(place: Repository | Path, config_commit: str | None = None) -> Objects:
    """Objects by the DVC config of the default branch (or of a commit of it) and this machine's.

    Never by that of the commit that is looked at, nor of the checkout. Raises UsageError.
    """
    repo = open_repository(place) if isinstance(place, Path) else place
    config = read_dvc_config(repo, config_commit)
    cache = repo.root / ".dvc" / "cache"
    if config.cache_dir:
        cache = (repo.root / ".dvc" / config.cache_dir).resolve()
    url = config.url()
    if url is None:
        return FolderObjects(cache, None)
    if "://" in url:
        return _remote(repo, config, cache)
    return FolderObjects(cache, (repo.root / ".dvc" / url).resolve(), config.remote or "")


def _remote(repo: Repository, config: DvcConfig, cache: Path) -> Objects:
    from lora_ci.changes.remote import remote_objects

    return remote_objects(config, cache, repo.root / ".lora-ci" / "cache")
