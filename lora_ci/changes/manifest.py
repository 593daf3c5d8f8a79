"""DVC's pointers (`x.dvc`) and folder manifests (`.dir` objects), read by our own strict parsers.

DVC itself is unsafe on a foreign commit: it obeys that commit's `.dvc/config`, and a manifest
with `../` makes it write outside the repository.
Source: the file formats as documented at https://dvc.org/doc/user-guide/project-structure
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lora_ci.config.document import parse_yaml
from lora_ci.core.changeset import FileEntry
from lora_ci.core.errors import InputError, UsageError

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
MAX_MANIFEST_BYTES = 256 * 1024 * 1024
MAX_ENTRIES = 2_000_000
# Control characters, backslashes and drive letters.
NOT_PLAIN = re.compile(r"[\x00-\x1f\\]|^[A-Za-z]:")
DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a `.dvc` file points to; `md5` ends in `.dir` for a folder."""

    md5: str
    path: str

    @property
    def is_folder(self) -> bool:
        """True if the object is a manifest of a folder."""
        return self.md5.endswith(".dir")


def parse_pointer(text: bytes, file: str) -> Pointer:
    """The one output of a `.dvc` file. Raises InputError that says what is wrong."""
    try:
        plain = parse_yaml(text, file).plain()
    except UsageError as error:
        raise InputError(str(error), findings=error.findings) from error
    outs = plain.get("outs") if isinstance(plain, dict) else None
    out = outs[0] if isinstance(outs, list) and len(outs) == 1 else None
    md5 = out.get("md5") if isinstance(out, dict) else None
    path = out.get("path") if isinstance(out, dict) else None
    if not isinstance(md5, str) or not MD5.fullmatch(md5) or not isinstance(path, str):
        hint = f"next: dvc add {file.removesuffix('.dvc')}"
        raise InputError(f"{file}: no DVC pointer with one output and its md5", hint=hint)
    return Pointer(md5, path)


def parse_manifest(data: bytes, file: str) -> tuple[FileEntry, ...]:
    """The entries of a `.dir` object, sorted by path; hostile paths are refused."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise InputError(f"{file}: manifest of {len(data)} bytes; at most {MAX_MANIFEST_BYTES}")
    try:
        items = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: the manifest is not JSON ({error})") from error
    if not isinstance(items, list) or len(items) > MAX_ENTRIES:
        raise InputError(f"{file}: the manifest is no list of at most {MAX_ENTRIES} files")
    entries = []
    for item in items:
        path = item.get("relpath") if isinstance(item, dict) else None
        md5 = item.get("md5") if isinstance(item, dict) else None
        if not isinstance(path, str) or not isinstance(md5, str) or not MD5.fullmatch(md5):
            raise InputError(f"{file}: manifest entry {str(item)[:80]!r} has no relpath and md5")
        entries.append(FileEntry(path=path, content_id=md5))
    check_paths((entry.path for entry in entries), file)
    return tuple(sorted(entries, key=lambda entry: entry.path))


def check_paths(paths: Iterable[str], file: str) -> None:
    """Refuses paths that could write elsewhere or over one another. Raises InputError."""
    seen: set[str] = set()
    for path in paths:
        # As PurePosixPath would split it, which takes most of the time of a large manifest.
        parts = [part for part in path.split("/") if part not in ("", ".")]
        hostile = (
            not path
            or path.startswith("/")
            or ".." in parts
            or NOT_PLAIN.search(path)
            or any(DEVICE_NAMES.fullmatch(part) for part in parts)
        )
        if hostile:
            raise InputError(f"{file}: path {path[:80]!r} is not a plain path inside the dataset")
        folded = "/".join(parts).casefold()
        if folded in seen:
            raise InputError(f"{file}: two files differ only in case or spelling: {path[:80]!r}")
        seen.add(folded)
