"""DVC's folder manifests (`.dir` objects), read by our own strict parser.

DVC itself is unsafe on a foreign commit: a manifest with `../` makes it write outside the
repository. Source: https://dvc.org/doc/user-guide/project-structure/internal-files
"""

from __future__ import annotations

import hashlib
from operator import attrgetter
from pathlib import Path
from threading import Thread

import msgspec

from lora_ci.changes.paths import check_paths, shown
from lora_ci.core.changeset import FileEntry
from lora_ci.core.errors import InputError, IntegrityError

RULE = "changes.manifest"
MAX_MANIFEST_BYTES = 256 * 1024 * 1024
MAX_ENTRIES = 2_000_000
LARGE_BYTES = 1 << 20
HEX = b"0123456789abcdef"
DECODER = msgspec.json.Decoder(list[FileEntry])


def read_manifest(
    path: Path, md5: str, file: str, *, mend: str, past: bool = False
) -> tuple[FileEntry, ...]:
    """The entries of the object at `path`, which must be the one called `md5`.

    `mend` is the hint if it is not. What is `past` is compared, never laid out: it may hold bad
    names, so that they can be mended.

    Raises:
        InputError: it is too large, or what it says cannot be used; told of `file`.
        IntegrityError: its bytes are not those of `md5`.
    """
    check_size(path.stat().st_size, file)
    data = path.read_bytes()
    digest = hashlib.md5(usedforsecurity=False)
    # Hashing needs no interpreter: a large manifest is hashed while it is parsed.
    hashing = Thread(target=digest.update, args=(data,)) if len(data) > LARGE_BYTES else None
    if hashing:
        hashing.start()
    else:
        digest.update(data)
    try:
        return parse_manifest(data, file, past=past)
    finally:
        if hashing:
            hashing.join()
        if digest.hexdigest() != md5.removesuffix(".dir"):
            message = f"{path} is damaged: its bytes are not those of manifest {md5}"
            raise IntegrityError(message, rule=RULE, file=file, hint=mend)


def parse_manifest(data: bytes, file: str, *, past: bool = False) -> tuple[FileEntry, ...]:
    """The entries of a `.dir` object, sorted by path. Raises InputError."""
    check_size(len(data), file)
    try:
        entries = DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise refused(f"the manifest is no list of relpath and md5: {error}", file) from error
    if len(entries) > MAX_ENTRIES:
        raise refused(f"the manifest has {len(entries)} files; at most {MAX_ENTRIES}", file)
    entries.sort(key=attrgetter("path"))
    paths = [entry.path for entry in entries]
    if not past:
        check_paths(paths, file)
        check_ids(entries, file)
    elif len(set(paths)) != len(paths):
        raise refused("the manifest has a file twice", file)
    return tuple(entries)


def check_ids(entries: list[FileEntry], file: str) -> None:
    """Refuses entries without an md5. Raises InputError."""
    ids = [entry.content_id for entry in entries]
    if set(map(len, ids)) - {32} or "".join(ids).encode("utf-8", "replace").translate(None, HEX):
        wrong = next(entry for entry in entries if not is_md5(entry.content_id))
        message = f"manifest entry {shown(wrong.path)} has no md5, but {shown(wrong.content_id)}"
        raise refused(message, file)


def is_md5(text: str) -> bool:
    """True for the md5 of a file, as DVC writes it."""
    return len(text) == 32 and text.isascii() and not text.encode().translate(None, HEX)


def check_size(size_bytes: int, file: str) -> None:
    """Refuses a manifest by its size, before it is read. Raises InputError."""
    if size_bytes > MAX_MANIFEST_BYTES:
        raise refused(f"manifest of {size_bytes} bytes; at most {MAX_MANIFEST_BYTES}", file)


def refused(message: str, file: str) -> InputError:
    """A manifest that cannot be used; `file` points to it."""
    make = f"dvc add {file.removesuffix('.dvc')}" if file.endswith(".dvc") else "dvc repro"
    hint = f"next: {make} && dvc push"
    return InputError(f"{file}: {message}", rule=RULE, file=file, hint=hint)
