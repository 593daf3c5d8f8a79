"""A dataset folder → everything that is wrong with it, and its statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.captions import SIDECARS, Caption, is_metadata
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.captioning.lock import LOCK
from lora_ci.dataset.captions import audit_captions
from lora_ci.dataset.compared import find_pairs_anew
from lora_ci.dataset.consent import is_datasheet
from lora_ci.dataset.decode import SUFFIXES
from lora_ci.dataset.duplicates import Group, find_pairs, groups_of
from lora_ci.dataset.files import is_image_name, list_files, missing_findings, name_findings, shown
from lora_ci.dataset.folding import Folding
from lora_ci.dataset.judge import image_findings
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.rules import finding
from lora_ci.dataset.verdicts import Verdicts
from lora_ci.dataset.worker import measure_files

# Of a picture of 8 × 8 cells in three colors.
FEATURES = 192
BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was looked at on the way, for those who show it.

    `images` and `references` are what was measured and `captions` the texts, all by the names of
    images. `groups` are look-alikes, in each the one to keep first; `leaks` are pairs of an image
    and a reference.
    """

    images: Mapping[str, Measured]
    references: Mapping[str, Measured]
    captions: Mapping[str, Caption]
    groups: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation found; `statistics` is JSON for the report."""

    findings: tuple[Finding, ...]
    metrics: dict[str, float]
    statistics: dict[str, Any]
    seen: Seen = field(repr=False, compare=False)

    @property
    def failed(self) -> bool:
        """True if any finding is an error."""
        return any(f.severity is Severity.ERROR for f in self.findings)


def validate_folder(
    folder: Path,
    trigger: str,
    settings: ValidateSettings,
    *,
    shown_as: str = "",
    missing: Iterable[str] = (),
    references: Path | None = None,
    base_model: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Validation:
    """Checks a folder of images and captions.

    `shown_as` is put before file names in findings; `missing` are files that belong to the
    dataset and could not be fetched. What was measured before of files in `cache` is not again.
    """
    absent = frozenset(missing)
    listing = list_files(folder)
    names, images = list(listing.names), listing.images
    held_out = list_files(references).images if references else []
    total = len(images) + len(held_out)
    verdicts = Verdicts(cache) if cache else None
    look = verdicts.measure if verdicts else measure_files
    measured = look(
        [folder / name for name in images],
        settings.max_pixels,
        lambda done: progress(done, total, "images"),
    )
    referenced = look(
        [references / name for name in held_out] if references else [],
        settings.max_pixels,
        lambda done: progress(len(images) + done, total, "references"),
    )
    good = [m for m in measured if m.hashes is not None]
    good_names = [n for n, m in zip(images, measured, strict=True) if m.hashes is not None]
    distance = settings.near_duplicate_distance
    if verdicts:
        pairs = find_pairs_anew(good, distance, verdicts, str(folder.resolve()))
    else:
        pairs = find_pairs(good, good, distance)
    groups = groups_of(pairs, good)
    held = [(n, m) for n, m in zip(held_out, referenced, strict=True) if m.hashes is not None]
    leaks = [
        (good_names[pair.first], held[pair.second][0])
        for pair in find_pairs(good, [m for _, m in held], distance)
    ]
    captions = audit_captions(
        folder,
        images,
        names,
        trigger=trigger,
        settings=settings,
        missing=absent,
        base_model=base_model,
        chroma={
            name: m.figures.chroma for name, m in zip(images, measured, strict=True) if m.figures
        },
    )
    expected = len(images) + sum(map(is_image_name, absent))
    others = Folding()
    others.extend(missing_findings(absent))
    others.extend(name_findings(listing))
    others.extend(size_findings(expected, settings))
    others.extend(image_findings(images, measured, settings))
    others.extend(duplicate_findings(good_names, groups, settings))
    others.extend(leak_findings(leaks))
    others.extend(unknown_files(names))
    counts = others.counts + Counter(captions.counts)
    findings = [*others.folded(), *captions.findings]
    prefix = f"{shown_as.rstrip('/')}/" if shown_as else ""
    findings = [replace(f, file=prefix + shown(f.file)) if f.file else f for f in findings]
    metrics = {
        "images": float(len(images)),
        "captions": float(len(captions.captions)),
        "errors": float(counts[Severity.ERROR]),
        "warnings": float(counts[Severity.WARNING]),
    }
    if good:
        metrics["effective_images"] = effective_number(good)
    if captions.tokens_max is not None:
        metrics["tokens_max"] = float(captions.tokens_max)
    return Validation(
        findings=tuple(findings),
        metrics=metrics,
        statistics={
            "sizes": sizes(good),
            "rules": dict(sorted((others.rules + Counter(captions.rules)).items())),
            **captions.statistics,
        },
        seen=Seen(
            images=dict(zip(images, measured, strict=True)),
            references=dict(zip(held_out, referenced, strict=True)),
            captions=captions.captions,
            groups=tuple(
                (good_names[group.kept], *(good_names[i] for i, _ in group.others))
                for group in groups
            ),
            leaks=tuple(leaks),
        ),
    )


def size_findings(count: int, settings: ValidateSettings) -> list[Finding]:
    """Too few images to learn from."""
    if count >= settings.min_images:
        return []
    message = f"{count} images; at least {settings.min_images} are needed (validate.min_images)"
    return [finding("dataset.too-few-images", message)]


def duplicate_findings(
    names: Sequence[str], groups: Sequence[Group], settings: ValidateSettings
) -> list[Finding]:
    """Equal and look-alike pictures of the dataset: in each group the best one is kept."""
    findings = []
    for group in groups:
        kept = names[group.kept]
        for index, pair in group.others:
            rule = "duplicate.exact" if pair.exact else "duplicate.near"
            severity = None if pair.exact else Severity(settings.near_duplicates)
            near = f"nearly {kept} (distance {pair.distance})"
            message = f"the same pixels as {kept}" if pair.exact else near
            hint = f"keep {kept} alone: repeats teach the picture, not the concept"
            file = names[index]
            findings.append(finding(rule, message, file=file, hint=hint, severity=severity))
    return findings


def leak_findings(leaks: Iterable[tuple[str, str]]) -> list[Finding]:
    """Pictures that are among the references too, or nearly; both names of each."""
    hint = "QA would reward learning it by heart: remove it from one of the two"
    return [
        finding("duplicate.leak", f"also among the references, as {other}", file=name, hint=hint)
        for name, other in leaks
    ]


def unknown_files(names: Sequence[str]) -> list[Finding]:
    """Files that are neither image nor caption."""
    known = (*SUFFIXES, *SIDECARS, LOCK)
    odd = [
        n
        for n in names
        if not (n.lower().endswith(known) or is_metadata(n) or is_datasheet(n) or n.startswith("."))
    ]
    message = "neither an image nor a caption; training ignores it"
    return [finding("dataset.unknown-file", message, file=name) for name in odd]


def effective_number(measured: Sequence[Measured]) -> float:
    """How many different pictures the set is worth: the Vendi score on 8 × 8 thumbnails.

    Source: Friedman and Dieng 2023, https://arxiv.org/abs/2210.02410, definition 3.1.
    """
    gram = np.zeros((FEATURES, FEATURES))
    mean = np.mean([_features(m) for m in measured], axis=0)
    for start in range(0, len(measured), BLOCK):
        vectors = np.stack([_features(m) for m in measured[start : start + BLOCK]]) - mean
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        gram += vectors.T @ vectors
    # The kernel of n pictures has the eigenvalues of this matrix, whose size does not grow.
    values = np.clip(np.linalg.eigvalsh(gram / len(measured)), 1e-12, None)
    values /= values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def _features(measured: Measured) -> NDArray[np.float64]:
    """The picture at 8 × 8, three colors."""
    assert measured.thumbnails is not None  # only decoded pictures come here
    cells = measured.thumbnails[0].reshape(8, 2, 8, 2, 3)
    means: NDArray[np.float64] = cells.mean(axis=(1, 3)).reshape(-1)
    return means


def sizes(measured: Sequence[Measured]) -> dict[str, int]:
    """The commonest sizes, and how many images have each."""
    counts = Counter(f"{image.width}×{image.height}" for image in measured)
    return dict(counts.most_common(12))
