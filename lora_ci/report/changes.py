"""What two commits differ in: for the terminal, as JSON, and in markdown."""

from __future__ import annotations

from collections.abc import Iterator

from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.text import clean
from lora_ci.plan.why import describe_change
from lora_ci.report.figures import counted, shorten
from lora_ci.report.markdown import code, escape

SHOWN_NAMES = 20
SHOWN_CHANGES = 5
SHOWN_KEYS = 6
LONGEST_NAME = 80


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


def render_changes_markdown(changes: ChangeSet) -> list[str]:
    """A line a dataset and config file, then how much else; empty where nothing is compared."""
    if changes.base is None:
        return []
    lines = [f"{_code(c.dataset)}: {escape(_told(c))}" for c in changes.datasets]
    for file, keys in changes.configs.items():
        shown = ", ".join(map(_code, keys[:SHOWN_KEYS])) or "text only"
        rest = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
        lines.append(f"{_code(file)}: {shown}{rest}")
    since = f"since {escape(changes.base[:7])}"
    if not lines:
        others = f"; {counted(len(changes.code), 'other file')} changed" if changes.code else ""
        return [f"No data and no config changed {since}{others}.", ""]
    if changes.code:
        lines.append(counted(len(changes.code), "other file"))
    if len(lines) == 1:
        return [f"**Changed** {since}: {lines[0]}", ""]
    more = len(lines) - SHOWN_CHANGES
    last = [f"… and {more} more"] if more > 0 else []
    items = [f"- {line}" for line in (*lines[:SHOWN_CHANGES], *last)]
    return [f"**Changed** {since}", "", *items, ""]


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


def _code(name: str) -> str:
    return f"`{code(shorten(name, LONGEST_NAME))}`"


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
