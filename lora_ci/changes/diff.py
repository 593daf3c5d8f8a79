"""Two lists of files → what was added, removed, modified and renamed. Pure."""

from __future__ import annotations

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import DatasetChange, FileEntry

BLOCK = 64


def diff_inputs(old: InputFacts | None, new: InputFacts) -> DatasetChange:
    """How an input changed; `unknown` where a manifest that differs cannot be read."""
    if old and old.content_id == new.content_id:
        return DatasetChange(dataset=new.path, total=len(new.entries or ()))
    lost = next((f for f in (new, old) if f and f.entries is None), None)
    if lost:
        return DatasetChange(
            dataset=new.path, total=len(new.entries or ()), unknown=lost_manifest(lost.content_id)
        )
    return diff_entries(new.path, (old and old.entries) or (), new.entries or ())


def lost_manifest(md5: str) -> str:
    """Why nothing can be told of a manifest that is nowhere, and what to do."""
    return f"manifest {md5} was not pushed: next: dvc push, where the dataset was added"


def diff_entries(
    dataset: str, old: tuple[FileEntry, ...], new: tuple[FileEntry, ...]
) -> DatasetChange:
    """The difference of two file lists, each sorted by path.

    Equal content under another name is a rename.
    """
    gone, came = _unlike(old, new)
    before = {e.path: e.content_id for e in gone}
    after = {e.path: e.content_id for e in came}
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    by_content: dict[str, list[str]] = {}
    for path in reversed(removed):
        by_content.setdefault(before[path], []).append(path)
    renamed = []
    for path in added:
        if by_content.get(after[path]):
            renamed.append((by_content[after[path]].pop(), path))
    from_names, to_names = {r[0] for r in renamed}, {r[1] for r in renamed}
    return DatasetChange(
        dataset=dataset,
        total=len(new),
        added=tuple(p for p in added if p not in to_names),
        removed=tuple(p for p in removed if p not in from_names),
        modified=tuple(sorted(after.keys() & before.keys())),
        renamed=tuple(renamed),
    )


def _unlike(
    old: tuple[FileEntry, ...], new: tuple[FileEntry, ...]
) -> tuple[list[FileEntry], list[FileEntry]]:
    """What only one of two sorted lists has; equal blocks are passed over at once."""
    gone: list[FileEntry] = []
    came: list[FileEntry] = []
    i = j = 0
    while i < len(old) and j < len(new):
        if old[i : i + BLOCK] == new[j : j + BLOCK]:
            i, j = i + BLOCK, j + BLOCK
            continue
        for _ in range(BLOCK):
            if i == len(old) or j == len(new):
                break
            one, other = old[i], new[j]
            if one.path <= other.path:
                i += 1
            if other.path <= one.path:
                j += 1
            if one != other:
                gone += [one] * (one.path <= other.path)
                came += [other] * (other.path <= one.path)
    return gone + list(old[i:]), came + list(new[j:])
