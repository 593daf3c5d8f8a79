"""Paths in kohya's files → folders of this repository: the files may come from another machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lora_ci.core.changeset import READ_IMAGES
from lora_ci.importing.folders import Folder, Layout, plain


def resolve(root: Path, bases: tuple[Path, ...], text: str) -> str | None:
    """The folder or file that a path of kohya's names, seen from `root`; None if it is not there.

    Looked for as it is, then below each of `bases`. What lies outside, or behind a link, is not
    there.
    """
    for base in (root, *bases):
        whole = os.path.normpath(os.path.join(base, text))
        if whole.startswith(f"{root}{os.sep}") and os.path.exists(whole):
            path = Path(whole).relative_to(root)
            above = [root.joinpath(*path.parts[:n]) for n in range(1, len(path.parts) + 1)]
            if all(map(plain, path.parts)) and not any(part.is_symlink() for part in above):
                return path.as_posix()
    return None


def find_folder(root: Path, bases: tuple[Path, ...], text: str, layout: Layout) -> str | None:
    """The folder that a path names; where it is not there, the only one of that name."""
    found = resolve(root, bases, text)
    if found is not None:
        return found
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    known = (*layout.numbered, *layout.plain, *layout.regularization)
    same = {folder.path for folder in known if folder.path.rpartition("/")[2] == last}
    return same.pop() if len(same) == 1 else None


def folder_at(root: Path, path: str, layout: Layout) -> Folder:
    """The folder as it was found, or as it lies there."""
    known = (*layout.numbered, *layout.plain, *layout.regularization)
    found = next((folder for folder in known if folder.path == path), None)
    if found is not None:
        return found
    names = sorted(entry.name for entry in os.scandir(root / path) if entry.is_file())
    images = [name for name in names if plain(name) and name.lower().endswith(READ_IMAGES)]
    return Folder(path=path, images=tuple(images))
