"""A folder or file as it lies on the disk → the same facts that a commit gives.

The content id is the one DVC would give: what was trained from a commit is known from a folder,
and the other way round.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lora_ci.changes.inputs import InputFacts, folder_id
from lora_ci.changes.paths import check_paths
from lora_ci.core.changeset import FileEntry
from lora_ci.core.errors import InputError


def read_folder(folder: Path, path: str) -> InputFacts:
    """The facts of `folder`, or of one file, which the user calls `path`; every file is read.

    Raises:
        InputError: there is none, or it holds links or hostile names.
    """
    if folder.is_file() and not folder.is_symlink():
        md5 = md5_file(folder)
        entry = FileEntry(path=folder.name, content_id=md5)
        return InputFacts(path=path, tracked_by="folder", content_id=md5, entries=(entry,))
    if not folder.is_dir():
        raise InputError(f"`{path}` is no folder", hint=f"next: ls {folder.parent}")
    entries = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            hint = f"next: put the files themselves below {path}"
            raise InputError(f"{path}/{name} is no regular file; it is not followed", hint=hint)
        if file.is_file():
            entries.append(FileEntry(path=name, content_id=md5_file(file)))
    entries.sort(key=lambda entry: entry.path)
    check_paths([entry.path for entry in entries], path)
    return InputFacts(
        path=path, tracked_by="folder", content_id=folder_id(entries), entries=tuple(entries)
    )


def md5_file(path: Path) -> str:
    """Hex md5 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
