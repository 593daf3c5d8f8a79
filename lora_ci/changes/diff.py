"""Two lists of files → what was added, removed, modified and renamed. Pure."""

from __future__ import annotations

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import DatasetChange, FileEntry


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
    """The difference of two file lists; equal content under another name is a rename."""
    before = {e.path: e.content_id for e in old}
    after = {e.path: e.content_id for e in new}
    differ = [path for path, now in after.items() if before.get(path) != now]
    added = sorted(path for path in differ if path not in before)
    removed = sorted(path for path in before if path not in after)
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
        modified=tuple(sorted(p for p in differ if p in before)),
        renamed=tuple(renamed),
    )
