"""Empties a folder that foreign code had: by file descriptors, so that no link leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def wipe(folder: Path) -> None:
    """Removes all that is in the folder, whatever its names, depth and modes; makes it if absent.

    A link in its place is removed, what it points to is not touched. Killed in the middle, the
    next call removes the rest. Raises OSError for what cannot be removed.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    top = os.open(folder, FOLDER)
    try:
        os.fchmod(top, 0o700)
        number = 0
        while names := _unlink_files(top):
            for name in names:
                number = _empty(top, name, number)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _empty(top: int, name: str, number: int) -> int:
    """Leaves the folder empty: the folders in it move to the top, so that no depth is too deep."""
    inner = open_folder(name, top)
    try:
        for child in _unlink_files(inner):
            os.close(open_folder(child, inner))  # one that cannot be written to cannot be moved
            number = _free_number(top, number)
            os.rename(child, f".wipe-{number}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    return number


def _free_number(top: int, number: int) -> int:
    number += 1
    while _exists(f".wipe-{number}", top):
        number += 1
    return number


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _unlink_files(folder: int) -> list[str]:
    """Removes what is no folder; returns the names of the folders."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def open_folder(name: str, parent: int) -> int:
    """A descriptor of a folder in another; its modes are set so that we can work in it."""
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        # fchmod refuses O_PATH, and open() needs a right that the folder may lack.
        os.chmod(f"/proc/self/fd/{place}", 0o700)
    finally:
        os.close(place)
    return os.open(name, FOLDER, dir_fd=parent)
