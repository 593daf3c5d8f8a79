"""Names of files from foreign places: only those that can be laid out anywhere are let in."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from lora_ci.core.errors import InputError
from lora_ci.core.finding import Finding, Severity

MAX_PART_BYTES = 255
SHOWN = 10
# In casefolded paths, each between two newlines. One set of characters stands first, so that the
# search runs through all names at once: after a newline or slash, empty parts, dots and the names
# of devices are hostile; controls, backslashes and lone surrogates (names that are not UTF-8) are
# wherever they stand.
HOSTILE = re.compile(
    r"[\x00-\x1f\x7f/\\\ud800-\udfff]"
    r"(?:\.{0,2}[/\n]|(?:con|prn|aux|nul|com[0-9]|lpt[0-9]) *[./\n]|(?<![\n/]))"
)
DRIVE = re.compile(r"\n[a-z]:")


def check_paths(paths: Sequence[str], file: str) -> None:
    """Refuses paths that could write elsewhere or over one another.

    Raises:
        InputError: with a finding for each of the first ones.
    """
    if not paths:
        return
    text = "\n".join(paths)
    folded = fold(text)
    # A newline inside a name shows in the count.
    if text.count("\n") >= len(paths) or _is_hostile(folded):
        raise _refuse(file, [p for p in paths if is_hostile(p)], "is not a plain path inside it")
    longest = max(map(len, paths)) * (1 if text.isascii() else 4)
    if longest > MAX_PART_BYTES:
        long = [p for p in paths if any(len(s.encode()) > MAX_PART_BYTES for s in p.split("/"))]
        if long:
            raise _refuse(file, long, f"has a name of over {MAX_PART_BYTES} bytes")
    names = paths if folded == text else folded.split("\n")
    once = set(names)
    if len(once) != len(names):
        counts = Counter(names)
        twice = [p for p, name in zip(paths, names, strict=True) if counts[name] > 1]
        same = [p for p, count in Counter(paths).items() if count > 1]
        if same:
            raise _refuse(file, same, "is there twice")
        raise _refuse(file, twice, "differs from another one only in case or spelling")
    folders = {name.rpartition("/")[0] for name in names}
    while folders := folders - {""}:
        if both := once & folders:
            wrong = [p for p, name in zip(paths, names, strict=True) if name in both]
            raise _refuse(file, wrong, "is a file and a folder")
        folders = {name.rpartition("/")[0] for name in folders}


def is_hostile(path: str) -> bool:
    """True for a path that is absolute, leaves its folder, or is none on some system."""
    return "\n" in path or _is_hostile(fold(path))


def _is_hostile(folded: str) -> bool:
    framed = f"\n{folded}\n"
    drive = DRIVE.search(framed) if ":" in framed else None
    return bool(drive or HOSTILE.search(framed))


def fold(text: str) -> str:
    """The text as a file system that ignores case and spelling sees it."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def _refuse(file: str, paths: list[str], problem: str) -> InputError:
    messages = [f"{file}: path {shown(path)} {problem}" for path in paths[:SHOWN]]
    if len(paths) > SHOWN:
        messages.append(f"{file}: … and {len(paths) - SHOWN} more paths like these")
    findings = tuple(
        Finding(
            rule="changes.path",
            severity=Severity.ERROR,
            message=message,
            file=file,
            hint="next: rename the file, then dvc add (or git add) its folder again",
        )
        for message in messages
    )
    return InputError(messages[0], findings=findings)


def shown(path: str) -> str:
    """A foreign path for a message: short, and nothing in it that a terminal obeys."""
    return repr(path[:80])
