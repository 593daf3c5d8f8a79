"""A DVC remote that is no folder (s3, http, ssh, gs, …), through DVC's own file systems.

DVC is only asked for a file system: it opens no repository and reads no config.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_ci.changes.dvc_config import DvcConfig
from lora_ci.changes.manifest import MAX_MANIFEST_BYTES
from lora_ci.changes.objects import LAYOUTS, in_folder
from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError, LoraCIError

PIECE_BYTES = 1 << 20
# What is not asked for at a prompt, for nobody may be there.
PROMPTS = ("ask_password", "ask_passphrase")
# Statuses of HTTP that mean what they say.
GONE = (404, 410)
SECRET = re.compile(r"//[^/@\s]*@|\?.*")


class FileSystem(Protocol):
    """What is used of DVC's file systems."""

    def exists(self, path: list[str]) -> list[bool]: ...

    def info(self, path: str) -> object: ...

    def open(self, path: str, mode: str) -> Reader: ...


class Reader(Protocol):
    """An open file."""

    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RemoteObjects:
    """The local cache, the objects fetched before (`fetched`), and the remote at `root`.

    `shown` is the remote in messages, without credentials.
    """

    cache: Path
    fetched: Path
    fs: FileSystem
    root: str
    shown: str

    def find(self, md5: str) -> Path | None:
        here = in_folder(self.cache, md5)
        if here:
            return here
        kind = "manifests" if md5.endswith(".dir") else "files"
        target = self.fetched / kind / md5[:2] / md5[2:]
        if target.is_file():
            return target
        there = [path for path, found in self._ask(self._places(md5)) if found]
        return self._fetch(there[0], target, md5) if there else None

    def mend(self, path: Path) -> str:
        # The remote's bytes are checked when they come.
        return f"next: rm {path} && dvc pull"

    def not_pushed(self, md5s: Iterable[str]) -> frozenset[str]:
        absent = list(dict.fromkeys(md5s))
        for layout in range(len(LAYOUTS)):
            asked = self._ask([self._places(md5)[layout] for md5 in absent])
            absent = [md5 for md5, (_, found) in zip(absent, asked, strict=True) if not found]
        return frozenset(absent)

    def _places(self, md5: str) -> list[str]:
        return [posixpath.join(self.root, lay, md5[:2], md5[2:]) for lay in LAYOUTS]

    def _ask(self, paths: list[str]) -> list[tuple[str, bool]]:
        """Which of the paths are there, asked all at once."""
        if not paths:
            return []
        # Each kind of remote raises errors of its own library, here and below.
        try:
            asked = list(zip(paths, self.fs.exists(paths), strict=True))
        except Exception as error:
            raise unreachable(self.shown, error) from error
        absent = next((path for path, found in asked if not found), None)
        if absent:
            self._check_absent(absent)
        return asked

    def _check_absent(self, path: str) -> None:
        """Some remotes call it absent when they cannot be reached, or let nobody in."""
        try:
            self.fs.info(path)
        except FileNotFoundError as error:
            reason = error.__cause__
            if isinstance(reason, OSError) and not isinstance(reason, FileNotFoundError):
                raise unreachable(self.shown, reason) from error
            status = getattr(reason, "status", None)
            if status not in (None, *GONE):
                raise unreachable(self.shown, f"HTTP status {status}") from error
        except Exception as error:
            raise unreachable(self.shown, error) from error

    def _fetch(self, source: str, target: Path, md5: str) -> Path:
        """Downloads an object, checked, and puts it in place in one step."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            digest = self._download(source, part, capped=md5.endswith(".dir"))
            if digest != md5.removesuffix(".dir"):
                message = f"{self.shown}: object {md5} is damaged: its bytes have md5 {digest}"
                hint = "next: remove it from the remote, then dvc push it again"
                raise IntegrityError(message, hint=hint)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _download(self, source: str, part: Path, *, capped: bool) -> str:
        digest, size_bytes = hashlib.md5(usedforsecurity=False), 0
        try:
            reader = self.fs.open(source, "rb")
            try:
                with part.open("wb") as writing:
                    while piece := reader.read(PIECE_BYTES):
                        size_bytes += len(piece)
                        if capped and size_bytes > MAX_MANIFEST_BYTES:
                            message = f"{self.shown}: a manifest of over {MAX_MANIFEST_BYTES} bytes"
                            raise InputError(message, hint="next: split the dataset")
                        digest.update(piece)
                        writing.write(piece)
            finally:
                reader.close()
        except LoraCIError:
            raise
        except Exception as error:
            raise unreachable(self.shown, error) from error
        return digest.hexdigest()


def remote_objects(config: DvcConfig, cache: Path, fetched: Path) -> RemoteObjects:
    """Objects of the default remote. Raises InfrastructureError if DVC cannot open it."""
    name, url = config.remote or "", config.url() or ""
    shown = f"the DVC remote `{name}` ({SECRET.sub('//', url)})"
    fs, root = _open(name, config.remotes, shown)
    return RemoteObjects(cache=cache, fetched=fetched, fs=fs, root=root, shown=shown)


def _open(
    name: str, remotes: Mapping[str, Mapping[str, str]], shown: str
) -> tuple[FileSystem, str]:
    """The one place where DVC's code is used: options of a remote → its file system."""
    try:
        from dvc.fs import get_cloud_fs
    except ImportError as error:
        message = f"{shown} needs DVC to be read"
        raise InfrastructureError(message, hint='next: pip install "lora-ci[dvc]"') from error
    plain = {
        key.lower(): {k: v for k, v in options.items() if k not in PROMPTS}
        for key, options in remotes.items()
    }
    try:
        kind, options, root = get_cloud_fs({"remote": plain}, name=name)
        return kind(**options), root
    except ImportError as error:
        scheme = plain[name.lower()]["url"].partition("://")[0]
        hint = f'next: pip install "dvc[{scheme}]"'
        raise InfrastructureError(f"{shown} needs a library for {scheme}", hint=hint) from error
    except Exception as error:
        raise unreachable(shown, error) from error


def unreachable(shown: str, reason: BaseException | str) -> InfrastructureError:
    """A remote that does not answer; the library's own words may hold credentials."""
    told = reason if isinstance(reason, str) else type(reason).__name__
    message = f"{shown} cannot be read: {told}"
    return InfrastructureError(message, hint="next: dvc status --cloud, which shows why")
