"""What two commits differ in, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.text import clean
from lora_ci.plan.why import describe_change

SHOWN_NAMES = 20


def render_changes_text(changes: ChangeSet) -> str:
    """The range, one line a dataset with counts, then the names; configs and code after them."""
    base = changes.base[:7] if changes.base else "nothing"
    lines = [f"{base} → {changes.head[:7]}: {changes.range_why}"]
    for change in changes.datasets:
        lines += [f"{change.dataset}: {_told(change)}", *_names(change)]
    for file, keys in changes.configs.items():
        lines += [f"{file}:", *_shown(" ", keys)]
    if changes.code:
        lines += ["other files:", *_shown(" ", changes.code)]
    if len(lines) == 1:
        lines.append("nothing differs")
    return "\n".join(map(clean, lines))


def changes_json(changes: ChangeSet) -> dict[str, object]:
    """Version 1 of what `lora-ci changes --json` prints; paths are relative to the dataset."""
    return {
        "version": 1,
        "datasets": {
            change.dataset: {
                "added": change.added,
                "removed": change.removed,
                "modified": change.modified,
                "renamed": change.renamed,
                "unknown": change.unknown,
            }
            for change in changes.datasets
        },
        "configs": changes.configs,
        "code": changes.code,
    }


def _told(change: DatasetChange) -> str:
    if not change:
        return "the same files as before, under another path"
    return describe_change(change)


def _names(change: DatasetChange) -> Iterator[str]:
    yield from _shown("+", change.added)
    yield from _shown("-", change.removed)
    yield from _shown("~", change.modified)
    yield from _shown(">", tuple(f"{old} → {new}" for old, new in change.renamed))


def _shown(sign: str, names: tuple[str, ...]) -> Iterator[str]:
    for name in names[:SHOWN_NAMES]:
        yield f"  {sign} {name}"
    if len(names) > SHOWN_NAMES:
        yield f"  {sign} … and {len(names) - SHOWN_NAMES:,} more"
