"""What stands in one commit: names, kinds and ids of everything, and the DVC outputs in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from lora_ci.changes.outs import Outs, is_pointer_file, read_outs
from lora_ci.core.errors import InputError

if TYPE_CHECKING:
    from lora_ci.changes.git import Repository

SYMLINK, SUBMODULE = "120000", "160000"


class TreeEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of `git ls-tree`: kind is blob, tree or commit (a submodule)."""

    path: str
    mode: str
    kind: str
    oid: str


@dataclass(frozen=True, eq=False)
class Tree:
    """All that stands in a commit; `texts` are files that were read ahead, in one go."""

    repo: Repository
    entries: Mapping[str, TreeEntry]
    texts: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is no file there. Raises InputError for a link."""
        entry = self.entries.get(path)
        if entry is None or entry.kind != "blob":
            return None
        if entry.mode == SYMLINK:
            raise not_followed(entry, path)
        return self.texts[path] if path in self.texts else next(self.repo.blobs([entry.oid]))

    def files(self, folder: str) -> tuple[TreeEntry, ...]:
        """All files below a folder, sorted by path."""
        inside, found = f"{folder}/", []
        # What lies in a folder comes straight after it.
        for entry in self._listed[self._at.get(folder, len(self._listed)) + 1 :]:
            if not entry.path.startswith(inside):
                break
            if entry.kind != "tree":
                found.append(entry)
        return tuple(sorted(found, key=lambda entry: entry.path))

    @cached_property
    def outs(self) -> Outs:
        """The outputs of all DVC files in the commit."""
        wanted = [e for e in self._listed if e.kind == "blob" and is_pointer_file(e.path)]
        links = {e.path: not_followed(e, e.path) for e in wanted if not is_file(e)}
        files = [e for e in wanted if is_file(e)]
        unread = [e for e in files if e.path not in self.texts]
        texts = dict(
            zip((e.path for e in unread), self.repo.blobs(e.oid for e in unread), strict=True)
        )
        known = {**self.texts, **texts}
        return read_outs({e.path: known[e.path] for e in files}, links)

    @cached_property
    def is_partial(self) -> bool:
        """True if each look into a file may be a fetch."""
        return self.repo.is_partial()

    @cached_property
    def uses_lfs(self) -> bool:
        """True if attributes anywhere in the commit speak of Git LFS."""
        wanted = [e.oid for e in self._listed if e.path.endswith(".gitattributes") and is_file(e)]
        texts = self.repo.blobs(wanted)
        return any([b"filter=lfs" in text for text in texts])  # noqa: C419 - git is read to its end

    @cached_property
    def _listed(self) -> list[TreeEntry]:
        return list(self.entries.values())

    @cached_property
    def _at(self) -> dict[str, int]:
        return {entry.path: i for i, entry in enumerate(self._listed) if entry.kind == "tree"}


def is_file(entry: TreeEntry) -> bool:
    """True for a file, False for a link, a folder or a submodule."""
    return entry.kind == "blob" and entry.mode != SYMLINK


def not_followed(entry: TreeEntry, wanted: str) -> InputError:
    """Why a link or a submodule where something is expected cannot be used."""
    kind = "a submodule" if entry.mode == SUBMODULE else "a symbolic link"
    message = f"{printable(entry.path)} is {kind}; lora-ci does not follow it"
    return InputError(
        message,
        rule="changes.not-followed",
        file=printable(entry.path),
        hint=f"next: git rm --cached {printable(entry.path)}, then put the files themselves at "
        f"{printable(wanted)}",
    )


def printable(path: str) -> str:
    """A path from git that may hold any bytes, for a message."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
