"""A dataset folder → images with captions, some of them held out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.captions import METADATA, SIDECARS, Caption, parse_metadata
from lora_ci.core.changeset import READ_IMAGES
from lora_ci.core.errors import InputError

# More would make measuring dearer than learning, and the loss hardly more exact.
MOST_HELD_OUT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image and its caption; `sha256` is of the image file, `name` its path in the dataset.

    It counts `repeats` times in an epoch. Without a caption of its own it is not `captioned`.
    """

    path: Path
    caption: str
    sha256: str
    name: str = ""
    repeats: int = 1
    captioned: bool = True


def read_samples(
    folder: Path, trigger: str, repeats: Mapping[str, int] | None = None
) -> list[Sample]:
    """The samples of a folder, sorted by path; an image without a caption gets the trigger.

    `repeats` has the paths of sources below the folder; samples below none of them count once.

    Raises:
        InputError: there is no image, or a caption cannot be read.
    """
    listed = read_metadata(folder)
    samples = []
    for path in sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in READ_IMAGES and not p.is_dir()
    ):
        name = path.relative_to(folder).as_posix()
        sidecars = (path.with_suffix(suffix) for suffix in SIDECARS)
        sidecar = next((file for file in sidecars if file.is_file()), None)
        if sidecar:
            caption = _read_sidecar(sidecar, folder)
        else:
            caption = listed[name].text if name in listed else ""
        samples.append(
            Sample(
                path=path,
                caption=caption or trigger,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                name=name,
                repeats=_repeats_of(Path(name), repeats or {}),
                captioned=bool(caption),
            )
        )
    if not samples:
        raise InputError("no image in the dataset", hint="next: lora-ci dataset validate")
    return samples


def _read_sidecar(path: Path, folder: Path) -> str:
    try:
        return path.read_text("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        name = path.relative_to(folder).as_posix()
        message = f"{name}: the caption is no UTF-8 text: {error.reason} at byte {error.start}"
        hint = "next: save the file as UTF-8"
        raise InputError(message, rule="train.caption-unreadable", file=name, hint=hint) from error


def _repeats_of(name: Path, repeats: Mapping[str, int]) -> int:
    parents = (parent.as_posix() for parent in name.parents)
    return next((repeats[p] for p in parents if p in repeats), repeats.get("", 1))


def read_metadata(folder: Path) -> Mapping[str, Caption]:
    """The captions that stand in the `metadata.jsonl` files of a folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob(METADATA)}
    listed = parse_metadata({name: path.read_bytes() for name, path in files.items()})
    if listed.findings:
        raise InputError(listed.findings[0].message, findings=listed.findings)
    return listed.captions


def hold_out(samples: Sequence[Sample], share: float) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from, and `share` of the pictures to measure the loss on.

    Content decides which: those with the lowest digests are held out, so that other names move
    none and further pictures move few. At least one picture is held out if `share` is above 0 and
    there are two, never all, and at most MOST_HELD_OUT; copies of a picture go together.
    """
    contents = sorted({sample.sha256 for sample in samples}, key=_place)
    held = set(contents[: count_held_out(len(contents), share)])
    return (
        [sample for sample in samples if sample.sha256 not in held],
        [sample for sample in samples if sample.sha256 in held],
    )


def count_held_out(pictures: int, share: float) -> int:
    """How many of unlike pictures `hold_out` puts aside."""
    if not (share and pictures):
        return 0
    return min(max(1, round(share * pictures)), pictures - 1, MOST_HELD_OUT)


def _place(sha256: str) -> str:
    """Digests of the digests: files that were chosen for theirs would be no fair share."""
    return hashlib.sha256(f"hold out {sha256}".encode()).hexdigest()
