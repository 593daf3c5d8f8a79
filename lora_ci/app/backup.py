"""A backup: a folder with all rows of a ledger, and the artifacts that they name.

manifest.json    schema, counts, and the sha256 of every other file and of itself
rows/*.jsonl     the rows of each table, one a line
objects.txt      a line for each artifact that rows name: sha256, and its size, or `-` if it was not
                 in the store
objects/         the artifacts, if they were asked for, as a store keeps them

It appears whole or not at all: it is written beside its place, and moved there at the end.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

import lora_ci
from lora_ci.core.clock import Clock
from lora_ci.core.digest import canonical_json, sha256_file, sha256_json
from lora_ci.core.errors import InfrastructureError, IntegrityError, UsageError
from lora_ci.ledger.database import Database
from lora_ci.ledger.dump import SUFFIX, check_empty, dump, load
from lora_ci.ledger.tables import SCHEMA_VERSION
from lora_ci.steps.folder import write_whole
from lora_ci.store.inventory import stored
from lora_ci.store.local import SHA256, LocalStore
from lora_ci.store.whole import flush_names, locked, move_to

FORMAT = 1
MANIFEST = "manifest.json"
ROWS = "rows"
LIST = "objects.txt"
OBJECTS = "objects"
# The folder that becomes a backup; one that nobody locks was left by a process that is gone.
ASIDE = ".lora-ci-backup-"
MAX_MANIFEST_BYTES = 1 << 20
TABLE = re.compile(r"[a-z_]{1,64}")
# A hard link cannot be made there: another disk, or a file system that has none.
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)

# What is being done, how much of it, of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in a backup. `absent` artifacts were named, and not in the store."""

    format: int
    schema_version: str
    made_at: str
    lora_ci: str
    rows: Mapping[str, int]
    files: Mapping[str, str]
    objects: int
    object_bytes: int
    absent: int
    with_objects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """The manifest and its own sha256: one that was changed or cut off is refused."""

    sha256: str
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back. `absent` artifacts are named by rows, and not in the store."""

    rows: Mapping[str, int]
    interrupted: int
    objects: int
    absent: int


def write_backup(
    database: Database,
    objects: Path,
    target: Path,
    clock: Clock,
    *,
    with_objects: bool,
    progress: Progress,
) -> Manifest:
    """Makes the backup `target` of a ledger while others use it.

    Artifacts are hard links to the store's where the disk is the same, else copies; each is read.

    Raises:
        UsageError: the target is there already.
        OSError: the disk is full or refuses; nothing is left at the target.
        InfrastructureError: the ledger cannot be read.
        IntegrityError: an artifact is damaged.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is there already", hint="next: give the name of a new folder")
    with _aside(target) as folder:
        (folder / ROWS).mkdir()
        dumped = dump(database, folder / ROWS, progress)
        sizes = {one.sha256: one.size_bytes for one in stored(objects)}
        named = sorted(dumped.artifacts | (dumped.digests & sizes.keys()))
        if with_objects:
            _copy_objects([s for s in named if s in sizes], sizes, objects, folder, progress)
        lines = (f"{sha256} {sizes.get(sha256, '-')}\n" for sha256 in named)
        write_whole(folder / LIST, "".join(lines).encode())
        files = {f"{ROWS}/{name}{SUFFIX}": sha256 for name, sha256 in dumped.sha256.items()}
        there = [sizes[sha256] for sha256 in named if sha256 in sizes]
        manifest = Manifest(
            format=FORMAT,
            schema_version=dumped.schema,
            made_at=clock.now().isoformat(timespec="seconds"),
            lora_ci=lora_ci.__version__,
            rows=dumped.rows,
            files={**files, LIST: sha256_file(folder / LIST)},
            objects=len(there),
            object_bytes=sum(there),
            absent=len(named) - len(there),
            with_objects=with_objects,
        )
        sealed = _Sealed(sha256=sha256_json(manifest), manifest=manifest)
        write_whole(folder / MANIFEST, canonical_json(sealed))
        flush_names(folder / ROWS)
        flush_names(folder)
        move_to(folder, target)
    return manifest


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A locked folder beside the target, which is gone afterwards; so are those of dead others."""
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{ASIDE}*"):
        with suppress(OSError), locked(left):
            shutil.rmtree(left)
    folder = parent / f"{ASIDE}{target.name}-{os.getpid()}"
    folder.mkdir()
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_objects(
    wanted: list[str], sizes: Mapping[str, int], objects: Path, folder: Path, progress: Progress
) -> None:
    """Links or copies artifacts into the backup, and reads what has come there."""
    done, total = 0, sum(sizes[sha256] for sha256 in wanted)
    for sha256 in wanted:
        source = objects / sha256[:2] / sha256[2:]
        copy = folder / OBJECTS / sha256[:2] / sha256[2:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            _link_or_copy(source, copy)
        except FileNotFoundError as error:
            message = f"{source}: it was removed while the backup was made"
            hint = "next: the same command again, while no `ledger gc` goes on"
            raise InfrastructureError(message, hint=hint) from error
        if sha256_file(copy) != sha256:
            hint = f"next: rm {source}, then run again to make it anew; or make the backup without"
            raise IntegrityError(f"{source}: its bytes are not those of its digest", hint=hint)
        done += sizes[sha256]
        progress("artifacts, in MiB", done >> 20, total >> 20)


def _link_or_copy(source: Path, copy: Path) -> None:
    try:
        os.link(source, copy)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copyfile(source, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())


def read_backup(source: Path, progress: Progress) -> Manifest:
    """The manifest of a backup of which every byte is what it was.

    Raises:
        UsageError: there is no backup.
        IntegrityError: a file was changed, cut off or removed; it is named.
        InfrastructureError: a newer lora-ci made it.
    """
    manifest = _read_manifest(source / MANIFEST)
    for name, expected in manifest.files.items():
        path = source / name
        if not path.is_file() or path.is_symlink():
            raise _broken(path, "it is missing")
        if sha256_file(path) != expected:
            raise _broken(path, "it was changed or cut off")
    objects = _read_list(source / LIST)
    if manifest.with_objects:
        done, total = 0, manifest.object_bytes
        for sha256, size_bytes in objects.items():
            if size_bytes is None:
                continue
            path = source / OBJECTS / sha256[:2] / sha256[2:]
            if not path.is_file() or path.is_symlink():
                raise _broken(path, "it is missing")
            if sha256_file(path) != sha256:
                raise _broken(path, "it was changed or cut off")
            done += size_bytes
            progress("artifacts read, in MiB", done >> 20, total >> 20)
    return manifest


def _read_manifest(path: Path) -> Manifest:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise _broken(path, "it is too large for what it is")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "next: give the folder that `lora-ci ledger backup` made"
        raise UsageError(f"{path.parent} is no backup: it has no {MANIFEST}", hint=hint) from error
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _broken(path, "it was changed or cut off, or is of another version") from error
    manifest = sealed.manifest
    if manifest.format > FORMAT or manifest.schema_version > SCHEMA_VERSION:
        message = f"{path.parent} was made by a newer lora-ci ({manifest.lora_ci})"
        raise InfrastructureError(message, hint="next: pip install --upgrade lora-ci")
    if sha256_json(manifest) != sealed.sha256:
        raise _broken(path, "it was changed")
    expected = {f"{ROWS}/{name}{SUFFIX}" for name in manifest.rows if TABLE.fullmatch(name)}
    if manifest.files.keys() != expected | {LIST}:
        raise _broken(path, "it names other files than a backup has")
    return manifest


def _read_list(path: Path) -> dict[str, int | None]:
    """The artifacts of a backup and their sizes; None for one that it has not."""
    found: dict[str, int | None] = {}
    for line in path.read_text().splitlines():
        sha256, _, size = line.partition(" ")
        if not SHA256.fullmatch(sha256) or not (size == "-" or size.isdecimal()):
            raise _broken(path, "a line of it is no artifact")
        found[sha256] = None if size == "-" else int(size)
    return found


def _broken(path: Path, why: str) -> IntegrityError:
    hint = "next: take another backup, or this one from where it was copied from"
    return IntegrityError(f"{path}: {why}", rule="backup.broken", hint=hint)


def restore(source: Path, url: str, objects: Path, clock: Clock, *, progress: Progress) -> Restored:
    """Brings a backup back into an empty ledger, whatever database that is in.

    First its artifacts, then its rows in one transaction: one that was killed is done again.

    Raises:
        UsageError: there is no backup, or the ledger is not empty.
        IntegrityError: the backup is not what it was.
        InfrastructureError: a newer lora-ci made it, or the database cannot be used.
    """
    check_empty(url)
    manifest = read_backup(source, progress)
    wanted, store = _read_list(source / LIST), LocalStore(objects)
    absent = [sha256 for sha256 in wanted if not store.has(sha256)]
    brought = 0
    if manifest.with_objects:
        for sha256 in [s for s in absent if wanted[s] is not None]:
            store.put(source / OBJECTS / sha256[:2] / sha256[2:])
            brought += 1
            progress("artifacts", brought, manifest.objects)
    loaded = load(
        url,
        source / ROWS,
        manifest.schema_version,
        manifest.rows,
        now=clock.now().isoformat(timespec="microseconds"),
        progress=progress,
    )
    return Restored(
        rows=loaded.rows,
        interrupted=loaded.interrupted,
        objects=brought,
        absent=len(absent) - brought,
    )
