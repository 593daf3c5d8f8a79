"""Where DVC keeps bytes: the local cache and the remote."""

from __future__ import annotations

import configparser
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_ci.core.errors import InfrastructureError, UsageError


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
        return frozenset(md5 for md5 in md5s if _in_folder(place, md5) is None)


def _in_folder(root: Path, md5: str) -> Path | None:
    """DVC 3 keeps `files/md5/ab/cdef`, DVC 2 kept `ab/cdef`."""
    for path in (root / "files" / "md5" / md5[:2] / md5[2:], root / md5[:2] / md5[2:]):
        if path.is_file():
            return path
    return None


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
