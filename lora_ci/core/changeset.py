"""What differs between two commits; explains, never decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from lora_ci.core.captions import SIDECARS
from lora_ci.core.finding import Finding


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A file of a dataset: POSIX path relative to the dataset, content id (md5 or git blob).

    Its JSON is that of an entry in DVC's manifests, which become these in one go.
    """

    path: str = msgspec.field(name="relpath")
    content_id: str = msgspec.field(name="md5")


CAPTION_SUFFIXES = (*SIDECARS, ".json", ".jsonl")
# Images that are trained on and judged with; others are told as images too, and refused.
READ_IMAGES = (".png", ".jpg", ".jpeg", ".webp")
IMAGE_SUFFIXES = (*READ_IMAGES, ".gif", ".bmp", ".avif", ".tif", ".tiff")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetChange:
    """Files of one dataset that differ, as paths below it.

    `unknown` says why they cannot be told; the lists are empty then. `total` counts the files now.
    """

    dataset: str
    total: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    unknown: str | None = None

    def __bool__(self) -> bool:
        return bool(self.unknown or self.added or self.removed or self.modified or self.renamed)

    @property
    def captions_only(self) -> bool:
        """True if nothing but captions was edited."""
        moved = self.added or self.removed or self.renamed or self.unknown
        return not moved and bool(self.modified) and all(map(is_caption, self.modified))


def is_caption(path: str) -> bool:
    """True for the text files that say what is in an image."""
    return kind_of(path) == "caption"


def kind_of(path: str) -> Literal["image", "caption", "other file"]:
    """What a file of a dataset is, by its name."""
    name = path.lower()
    if name.endswith(IMAGE_SUFFIXES):
        return "image"
    return "caption" if name.endswith(CAPTION_SUFFIXES) else "other file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """All differences between `base` (None: everything is new) and `head`.

    `range_why` says how the base was found. `configs` has the changed keys by the file that sets
    them (`.lora-ci.yml` → `loras.mei.train.rank`), `files` every path in git that differs, `code`
    those of them that are neither config nor data.
    """

    base: str | None
    head: str
    range_why: str = ""
    datasets: tuple[DatasetChange, ...] = ()
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
