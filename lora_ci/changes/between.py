"""Two commits → what is different in their datasets. Only what differs is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

from lora_ci.changes.diff import diff_entries, lost_manifest
from lora_ci.changes.git import Delta, Repository
from lora_ci.changes.manifest import read_manifest
from lora_ci.changes.objects import Objects
from lora_ci.changes.outs import Outs, is_pointer_file, read_outs
from lora_ci.changes.pointer import LOCK, Pointer
from lora_ci.changes.stages import STAGES
from lora_ci.changes.tree import TreeEntry, is_file, not_followed, printable
from lora_ci.core.changeset import DatasetChange, FileEntry
from lora_ci.core.errors import InputError, LoraCIError


def changes_between(
    repo: Repository,
    base: str | None,
    head: str,
    objects: Objects,
    also: tuple[str, ...] = (),
) -> tuple[DatasetChange, ...]:
    """Every DVC output that differs, and every folder in git of `also`, sorted by path.

    A dataset that moved has an entry without files at its new path. What cannot be read is
    `unknown`. Without a base all there is at the head is new.
    """
    deltas = repo.differing(base, head)
    pointers = [delta for delta in deltas if is_pointer_file(delta.path)]
    before, after = [d.old for d in pointers if d.old], [d.new for d in pointers if d.new]
    readable = [entry.oid for entry in (*before, *after) if is_file(entry)]
    texts = dict(zip(readable, repo.blobs(readable), strict=True))
    beside, links = _beside(repo, head, pointers, texts)
    old, new = (read_outs(*_files(side, texts, beside, links)) for side in (before, after))
    found = {change.dataset: change for change in _dvc_changes(old, new, objects)}
    wanted = frozenset(also) - found.keys() - old.by_path.keys() - new.by_path.keys()
    by_folder = _by_folder(deltas, wanted)
    counts = _counts(repo, head, by_folder) if base else {}
    for path, inside in by_folder.items():
        if counts.get(f"{path}.dvc"):
            continue  # DVC's, and that is the same
        change = _git_change(path, inside)
        found[path] = replace(change, total=counts.get(path, change.total))
    return tuple(change for _, change in sorted(found.items()))


def changed_files(repo: Repository, base: str | None, head: str) -> tuple[str, ...]:
    """The paths in git that differ; bytes that are no text are shown as escapes."""
    return tuple(printable(delta.path) for delta in repo.differing(base, head))


def _beside(
    repo: Repository, head: str, deltas: list[Delta], read: Mapping[str, bytes]
) -> tuple[dict[str, bytes], dict[str, InputError]]:
    """What is the same on both sides, beside a `dvc.lock` or `dvc.yaml` that differs.

    Where an output of the one lies is said by the other. The second part is what is a link.
    """
    differ = {delta.path for delta in deltas}
    texts, links = {}, {}
    for delta in deltas:
        folder, _, name = delta.path.rpartition("/")
        if name not in (LOCK, STAGES):
            continue
        sides = [read.get(side.oid, b"") for side in (delta.old, delta.new) if side]
        if name == STAGES and not any(b"wdir" in text for text in sides):
            continue
        other = f"{folder}/".lstrip("/") + (STAGES if name == LOCK else LOCK)
        if other in differ:
            continue
        try:
            if text := repo.file(head, other):
                texts[other] = text
        except InputError as error:
            links[other] = error
    return texts, links


def _files(
    side: list[TreeEntry],
    read: Mapping[str, bytes],
    beside: Mapping[str, bytes],
    links: Mapping[str, InputError],
) -> tuple[dict[str, bytes], dict[str, InputError]]:
    """All DVC files of one side with their texts, and those that are links."""
    texts = {entry.path: read[entry.oid] for entry in side if is_file(entry)}
    odd = {entry.path: not_followed(entry, entry.path) for entry in side if not is_file(entry)}
    return {**beside, **texts}, {**links, **odd}


def _dvc_changes(old: Outs, new: Outs, objects: Objects) -> Iterator[DatasetChange]:
    for file, error in {**old.broken, **new.broken}.items():
        yield DatasetChange(dataset=file.removesuffix(".dvc"), total=0, unknown=str(error))
    unread = {file.removesuffix(".dvc") for file in (*old.broken, *new.broken)}
    kept = new.by_path.keys() | unread
    gone = {p.md5: path for path, p in old.by_path.items() if path not in kept}
    moved = set()
    for path, now in new.by_path.items():
        then = old.by_path.get(path)
        if path in unread or (then and then.md5 == now.md5):
            continue
        if then is None and now.md5 in gone:
            moved.add(gone[now.md5])
            then = now
        yield _dvc_change(path, then, now, objects)
    for path, then in old.by_path.items():
        if path not in kept and path not in moved:
            yield _dvc_change(path, then, None, objects)


def _dvc_change(
    path: str, then: Pointer | None, now: Pointer | None, objects: Objects
) -> DatasetChange:
    unplaced = next((p for p in (now, then) if p and p.unplaced), None)
    if unplaced:
        why = f"{unplaced.where.file}: {unplaced.unplaced}"
        return DatasetChange(dataset=path, total=0, unknown=why)
    past, present = _read(then, objects, past=True), _read(now, objects, past=False)
    unknown = present.unknown or past.unknown
    if unknown:
        return DatasetChange(dataset=path, total=len(present.entries), unknown=unknown)
    return diff_entries(path, past.entries, present.entries)


@dataclass(frozen=True, slots=True)
class _Content:
    entries: tuple[FileEntry, ...] = ()
    unknown: str | None = None


def _read(pointer: Pointer | None, objects: Objects, *, past: bool) -> _Content:
    if pointer is None:
        return _Content()
    if not pointer.is_folder:
        name = pointer.path.rpartition("/")[2]
        return _Content((FileEntry(path=name, content_id=pointer.md5),))
    try:
        manifest = objects.find(pointer.md5)
        if manifest is None:
            return _Content(unknown=lost_manifest(pointer.md5))
        file, mend = pointer.where.file, objects.mend(manifest)
        return _Content(read_manifest(manifest, pointer.md5, file, mend=mend, past=past))
    except LoraCIError as error:
        return _Content(unknown=str(error))


def _by_folder(deltas: list[Delta], wanted: frozenset[str]) -> dict[str, list[Delta]]:
    """The differences in each of the folders (or files) that are wanted."""
    found: dict[str, list[Delta]] = {}
    for delta in deltas:
        for path in _upwards(delta.path):
            if path in wanted:
                found.setdefault(path, []).append(delta)
    # What lies behind a link or in a submodule.
    odd = {d.path: d for d in deltas if any(s and not is_file(s) for s in (d.old, d.new))}
    for path in wanted if odd else ():
        above = [odd[folder] for folder in _upwards(path.rpartition("/")[0]) if folder in odd]
        if above:
            found.setdefault(path, []).extend(above)
    return found


def _counts(repo: Repository, commit: str, folders: Collection[str]) -> dict[str, int]:
    """How many files there are in each of the folders, and pointers of DVC beside them."""
    counts = dict.fromkeys((*folders, *(f"{folder}.dvc" for folder in folders)), 0)
    for entry in repo.listed(commit, "--", *counts) if folders else ():
        for path in _upwards(entry.path):
            if path in counts:
                counts[path] += 1
    return counts


def _upwards(path: str) -> Iterator[str]:
    """The path and all folders that it is in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _git_change(path: str, deltas: list[Delta]) -> DatasetChange:
    """The difference of a folder (or file) in git, by the paths in it that differ."""
    before, after = [d.old for d in deltas if d.old], [d.new for d in deltas if d.new]
    # What was no file in the past may be mended.
    odd = next((side for side in after or before if not is_file(side)), None)
    if odd:
        return DatasetChange(dataset=path, total=0, unknown=str(not_followed(odd, path)))
    old, new = _entries(path, before), _entries(path, after)
    return diff_entries(path, old, new)


def _entries(path: str, side: list[TreeEntry]) -> tuple[FileEntry, ...]:
    """The files of a folder, or the one at the path itself, by their names in it."""
    above = path.removesuffix(path.rpartition("/")[2])
    found = (
        FileEntry(
            path=printable(entry.path.removeprefix(f"{path}/" if entry.path != path else above)),
            content_id=entry.oid,
        )
        for entry in side
        if is_file(entry)
    )
    return tuple(sorted(found, key=attrgetter("path")))
