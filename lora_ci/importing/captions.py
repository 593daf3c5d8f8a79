"""Captions as kohya's trainer sees them, beside what ours would see in the same folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from lora_ci.core.captions import MAX_METADATA_BYTES, METADATA, SIDECARS, parse_metadata
from lora_ci.importing.folders import Folder, Layout, many

MAX_CAPTION_BYTES = 64 * 1024


class _Entry(msgspec.Struct):
    """What kohya's metadata says of an image; other keys are passed over."""

    caption: str | None = None
    tags: str | None = None


class _Line(msgspec.Struct):
    """One line of kohya's `.jsonl` metadata."""

    image_path: str
    caption: str | None = None
    tags: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The captions of a folder, by image name.

    `kohya` are those that it trains with; `written` those of a `metadata.jsonl` that has to be
    written so that they are ours too.
    """

    folder: Folder
    kohya: Mapping[str, str]
    written: Mapping[str, str]


def see_captions(root: Path, folder: Folder, layout: Layout) -> Seen:
    """Reads the captions of a folder; tells where ours would be others."""
    listed = _own_metadata(root, folder, layout)
    foreign = _foreign_metadata(root, folder, layout)
    kohya: dict[str, str] = {}
    written: dict[str, str] = {}
    other: list[str] = []
    several: list[str] = []
    for image in folder.images:
        texts = _sidecars(root / folder.path / image)
        ours = next(iter(texts.values()), listed.get(image, ""))
        theirs = _theirs(image, folder, texts, foreign) or (ours if not texts else "")
        if len(theirs.splitlines()) > 1:
            several.append(image)
            theirs = theirs.splitlines()[0].strip()
        kohya[image] = theirs or ours
        if not ours and theirs:
            written[image] = theirs
        elif theirs and ours != theirs and image not in several:
            other.append(image)
    _tell(layout, folder, other, several)
    return Seen(folder=folder, kohya=kohya, written=_kept(root, folder, written, layout))


def has_word(text: str, word: str) -> bool:
    """True if the word, or words, stand in the text on their own, in capitals or not."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def metadata_text(captions: Mapping[str, str]) -> str:
    """The lines of a `metadata.jsonl`."""
    rows = ({"file_name": name, "text": text} for name, text in sorted(captions.items()))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _theirs(
    image: str, folder: Folder, texts: Mapping[str, str], foreign: Mapping[str, str] | None
) -> str:
    """kohya's caption of an image; an empty text where it has none."""
    if foreign is not None:
        return foreign.get(image) or foreign.get(PurePosixPath(image).stem, "")
    if folder.extension is not None:
        found = texts.get(folder.extension)
    else:
        found = next(iter(texts.values()), None)
    return folder.concept if found is None else found


def _sidecars(image: Path) -> dict[str, str]:
    """The texts beside an image by their ending, in the order in which ours go."""
    texts = {}
    for suffix in SIDECARS:
        path = image.with_suffix(suffix)
        try:
            with path.open("rb") as file:
                texts[suffix] = file.read(MAX_CAPTION_BYTES).decode("utf-8-sig", "replace").strip()
        except OSError:
            continue
    return texts


def _own_metadata(root: Path, folder: Folder, layout: Layout) -> dict[str, str]:
    """The captions of a `metadata.jsonl` that is there already."""
    path = root / folder.path / METADATA
    data = _read(path, layout, root)
    if data is None:
        return {}
    found = parse_metadata({METADATA: data})
    layout.findings.extend(found.findings)
    return {name: caption.text for name, caption in found.captions.items()}


def _foreign_metadata(root: Path, folder: Folder, layout: Layout) -> dict[str, str] | None:
    """kohya's captions by image name and by its stem; None where it has no metadata."""
    if folder.metadata is None:
        return None
    data = _read(root / folder.metadata, layout, root)
    if data is None:
        return None
    try:
        if folder.metadata.endswith(".jsonl"):
            lines = [msgspec.json.decode(x, type=_Line) for x in data.splitlines() if x.strip()]
            entries = {line.image_path: _Entry(line.caption, line.tags) for line in lines}
        else:
            entries = msgspec.json.decode(data, type=dict[str, _Entry])
    except (ValueError, RecursionError) as error:
        hint = "expected what kohya's `merge_captions_to_metadata.py` writes"
        layout.tell("metadata", f"not kohya's metadata: {error}", folder.metadata, hint)
        return None
    texts = {}
    for key, entry in entries.items():
        name = os.path.basename(key.replace("\\", "/"))
        texts[name] = ",".join(filter(None, (entry.caption, entry.tags))).strip()
    stems = {PurePosixPath(name).stem: text for name, text in texts.items()}
    return {**stems, **texts}


def _read(path: Path, layout: Layout, root: Path) -> bytes | None:
    name = path.relative_to(root).as_posix()
    try:
        if path.is_symlink() or path.stat().st_size > MAX_METADATA_BYTES:
            layout.tell("metadata", f"a link, or more than {MAX_METADATA_BYTES} bytes", name)
            return None
        return path.read_bytes()
    except OSError:
        return None


def _kept(
    root: Path, folder: Folder, written: Mapping[str, str], layout: Layout
) -> Mapping[str, str]:
    """What can be written: a `metadata.jsonl` that is there stays as it is."""
    if written and os.path.lexists(root / folder.path / METADATA):
        name = next(iter(written))
        message = (
            f"{many(len(written), 'caption')} of kohya's missing in {METADATA}: that of {name}"
        )
        hint = f"add them to {folder.path}/{METADATA}"
        layout.tell("caption", f"{message} is {written[name]!r:.80}", folder.path, hint)
        return {}
    return written


def _tell(layout: Layout, folder: Folder, other: list[str], several: list[str]) -> None:
    if several:
        message = f"{many(len(several), 'caption')} of several lines, such as that of {several[0]}"
        hint = "make it one line each"
        layout.tell("caption", f"{message}: kohya takes the first alone", folder.path, hint)
    if other:
        message = (
            f"{many(len(other), 'caption')} not as kohya reads them, such as that of {other[0]}"
        )
        ending = folder.metadata or folder.extension or "its files"
        hint = f"kohya reads {ending}; here .txt goes before .caption, and both before a list"
        layout.tell("caption", message, folder.path, hint)
