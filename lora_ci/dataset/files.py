"""The files below a folder, and what is wrong with their names."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.finding import Finding
from lora_ci.dataset.decode import SUFFIXES
from lora_ci.dataset.rules import finding

MAX_FILES = 1_000_000
# Of one name, in bytes: what file systems, tar and DVC's remotes take.
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """POSIX paths below the folder, sorted, and folders that could not be listed."""

    names: tuple[str, ...]
    closed: tuple[str, ...] = ()

    @property
    def images(self) -> list[str]:
        """Those that are named as images are."""
        return [name for name in self.names if is_image_name(name)]


def is_image_name(name: str) -> bool:
    """True for the endings of PNG, JPEG and WebP."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def list_files(folder: Path) -> Listing:
    """All files below a folder; links are listed, not followed, as is a folder named `x.png`."""
    names: list[str] = []
    closed: list[str] = []
    todo = [""]
    while todo and len(names) <= MAX_FILES:
        below = todo.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and not is_image_name(entry.name):
                        todo.append(f"{below}{entry.name}/")
                    else:
                        names.append(below + entry.name)
        except OSError:
            closed.append(below.rstrip("/") or ".")
    return Listing(names=tuple(sorted(names)), closed=tuple(sorted(closed)))


def name_findings(listing: Listing) -> list[Finding]:
    """Folders that cannot be listed, names that break tools, and names that are one elsewhere."""
    hint = "give the user that runs lora-ci the right to read it"
    found = [
        finding("path.unreadable", "this folder cannot be listed", file=name, hint=hint)
        for name in listing.closed
    ]
    for name in listing.names:
        if trouble := _trouble(name):
            hint = "rename it: letters, digits, - and _ work everywhere"
            found.append(finding("path.name", trouble, file=name, hint=hint))
    return found + _collisions(listing.names)


def shown(name: str) -> str:
    """A name that can stand in a report: what is no printable text is written as its code."""
    return "".join(
        c if c.isprintable() and not _deceives(c) else c.encode("unicode_escape").decode()
        for c in name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


def _trouble(name: str) -> str | None:
    """What is wrong with a name, if anything is."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "a name that is not UTF-8"
    if name.isascii() and name.isprintable():
        longest = max(map(len, name.split("/")))
    else:
        longest = max(len(part.encode()) for part in name.split("/"))
        if any(unicodedata.category(c) == "Cc" for c in name):
            return "a name with a control character, such as a line break"
        if any(_deceives(c) for c in name):
            return "a name with an invisible mark that turns the order of what is shown"
    if longest > MAX_NAME_BYTES or len(encoded) > MAX_PATH_BYTES:
        return f"a name of more than {MAX_NAME_BYTES} bytes"
    return None


def _deceives(character: str) -> bool:
    """True for marks of writing direction: they make `gnp.exe` of `exe.png`."""
    return character in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _collisions(names: Sequence[str]) -> list[Finding]:
    """Names that differ in case or in how accents are written alone."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        key = name.casefold()
        same[key if key.isascii() else unicodedata.normalize("NFC", key)].append(name)
    hint = "rename one: on macOS and Windows they are one file"
    return [
        finding(
            "path.collision",
            f"differs from {shown(group[0])} only in case or in how accents are written",
            file=name,
            hint=hint,
        )
        for group in same.values()
        for name in group[1:]
    ]


def missing_findings(absent: Iterable[str]) -> list[Finding]:
    """Files that are in DVC's manifest and not in its remote."""
    message = "in the DVC manifest, but not in the remote"
    hint = "next: dvc push, on the machine that has it"
    return [finding("dvc.object-missing", message, file=n, hint=hint) for n in sorted(absent)]
