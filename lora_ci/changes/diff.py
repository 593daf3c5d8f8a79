"""Two lists of files → what was added, removed, modified and renamed. Pure."""

from __future__ import annotations

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import DatasetChange, FileEntry


def diff_inputs(old: InputFacts | None, new: InputFacts) -> DatasetChange:
    """How an input changed; `known` is False where a manifest that differs cannot be read."""
    if new.entries is None or (old and old.entries is None and old.content_id != new.content_id):
        known = bool(old and old.content_id == new.content_id)
        return DatasetChange(dataset=new.path, total=len(new.entries or ()), known=known)
    return diff_entries(new.path, (old and old.entries) or (), new.entries)


def diff_entries(
    dataset: str, old: tuple[FileEntry, ...], new: tuple[FileEntry, ...]
) -> DatasetChange:
    """The difference of two file lists; equal content under another name is a rename."""
    before = {e.path: e.content_id for e in old}
    after = {e.path: e.content_id for e in new}
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
        modified=tuple(sorted(p for p in before.keys() & after.keys() if before[p] != after[p])),
        renamed=tuple(renamed),
    )
