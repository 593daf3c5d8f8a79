"""Where DVC keeps bytes: the local cache and the remote."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_ci.core.errors import InfrastructureError, UsageError

# DVC 3 keeps `files/md5/ab/cdef`, DVC 2 kept `ab/cdef`.
LAYOUTS = ("files/md5", "")


class Objects(Protocol):
    """DVC objects by md5."""

    def find(self, md5: str) -> Path | None:
        """A local file that holds the object, cache first; None if it is nowhere."""
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

    def find(self, md5: str) -> Path | None:
        return _in_folder(self.cache, md5) or (self.remote and _in_folder(self.remote, md5)) or None

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
            # One listing of a folder is far cheaper than a look for each of its files.
            there = {name for layout in LAYOUTS for name in _files(place / layout / prefix)}
            absent += [md5 for md5 in wanted if md5[2:] not in there]
        return frozenset(absent)


def _in_folder(root: Path, md5: str) -> Path | None:
    for layout in LAYOUTS:
        path = root / layout / md5[:2] / md5[2:]
        if path.is_file():
            return path
    return None


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def open_objects(root: Path) -> FolderObjects:
    """Objects by the DVC config of the machine's own checkout (never of a foreign commit)."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    except (configparser.Error, UnicodeDecodeError) as error:
        message = f"{root / '.dvc'}: the DVC config cannot be read: {str(error).splitlines()[0]}"
        raise UsageError(message, hint="next: dvc config --list") from error
    cache = root / ".dvc" / "cache"
    if parser.has_option("cache", "dir"):
        cache = (root / ".dvc" / parser.get("cache", "dir")).resolve()
    name = parser.get("core", "remote", fallback=None)
    if name is None:
        return FolderObjects(cache, None)
    section = f"'remote \"{name}\"'"
    url = parser.get(section, "url", fallback=None)
    if url is None:
        message = f".dvc/config: the default remote `{name}` has no url"
        raise UsageError(message, hint=f"next: dvc remote add {name} <folder>, or dvc remote list")
    if "://" in url:
        kind = url.partition("://")[0]
        message = f".dvc/config: the remote `{name}` is of the kind {kind}; only folders are read"
        hint = "next: dvc pull, then dvc remote default --unset: the DVC cache is read instead"
        raise UsageError(message, hint=hint)
    return FolderObjects(cache, (root / ".dvc" / url).resolve(), name)
