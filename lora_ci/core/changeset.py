"""What differs between two commits; explains, never decides."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of a dataset: POSIX path relative to the dataset, content id (md5 or git blob)."""

    path: str
    content_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetChange:
    """Files of one dataset that differ. `known` is False where a manifest could not be read."""

    dataset: str
    total: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    known: bool = True

    def __bool__(self) -> bool:
        return not self.known or bool(self.added or self.removed or self.modified or self.renamed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """All differences between `base` (None: everything is new) and `head`."""

    base: str | None
    head: str
    datasets: tuple[DatasetChange, ...] = ()
    config_keys: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
