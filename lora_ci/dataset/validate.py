"""A dataset folder → everything that is wrong with it, and its statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lora_ci.core.captions import SIDECARS, is_metadata
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.captions import audit_captions
from lora_ci.dataset.consent import is_datasheet
from lora_ci.dataset.decode import SUFFIXES
from lora_ci.dataset.duplicates import find_pairs
from lora_ci.dataset.files import is_image_name, list_files, missing_findings, name_findings, shown
from lora_ci.dataset.judge import image_findings
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.rules import finding
from lora_ci.dataset.verdicts import Verdicts
from lora_ci.dataset.worker import measure_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation found; `statistics` is JSON for the report."""

    findings: tuple[Finding, ...]
    metrics: dict[str, float]
    statistics: dict[str, Any]

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
    look = Verdicts(cache).measure if cache else measure_files
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
    others = [
        *missing_findings(absent),
        *name_findings(listing),
        *size_findings(expected, settings),
        *image_findings(images, measured, settings),
        *duplicate_findings(images, measured, held_out, referenced, settings),
        *unknown_files(names),
    ]
    counts = Counter(captions.counts) + Counter(f.severity for f in others)
    findings = [*others, *captions.findings]
    prefix = f"{shown_as.rstrip('/')}/" if shown_as else ""
    findings = [replace(f, file=prefix + shown(f.file)) if f.file else f for f in findings]
    good = [m for m in measured if m.hashes is not None]
    metrics = {
        "images": float(len(images)),
        "captions": float(captions.captions),
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
        statistics={"sizes": sizes(good), **captions.statistics},
    )


def size_findings(count: int, settings: ValidateSettings) -> list[Finding]:
    """Too few images to learn from."""
    if count >= settings.min_images:
        return []
    message = f"{count} images; at least {settings.min_images} are needed (validate.min_images)"
    return [finding("dataset.too-few-images", message)]


def duplicate_findings(
    names: Sequence[str],
    measured: Sequence[Measured],
    held_out: Sequence[str],
    referenced: Sequence[Measured],
    settings: ValidateSettings,
) -> list[Finding]:
    """Equal and look-alike pictures, within the dataset and between it and the references."""
    own = [(n, m) for n, m in zip(names, measured, strict=True) if m.hashes is not None]
    others = [(n, m) for n, m in zip(held_out, referenced, strict=True) if m.hashes is not None]
    findings = []
    images = [m for _, m in own]
    for pair in find_pairs(images, images, settings.near_duplicate_distance):
        first, second = own[pair.first][0], own[pair.second][0]
        rule = "duplicate.exact" if pair.exact else "duplicate.near"
        severity = None if pair.exact else Severity(settings.near_duplicates)
        likeness = (
            "the same pixels as" if pair.exact else f"nearly {first} (distance {pair.distance})"
        )
        message = f"{likeness} {first}" if pair.exact else likeness
        hint = "keep one of them: repeats teach the picture, not the concept"
        findings.append(finding(rule, message, file=second, hint=hint, severity=severity))
    for pair in find_pairs(images, [m for _, m in others], settings.near_duplicate_distance):
        message = f"also among the references, as {others[pair.second][0]}"
        hint = "QA would reward learning it by heart: remove it from one of the two"
        findings.append(finding("duplicate.leak", message, file=own[pair.first][0], hint=hint))
    return findings


def unknown_files(names: Sequence[str]) -> list[Finding]:
    """Files that are neither image nor caption."""
    known = (*SUFFIXES, *SIDECARS)
    odd = [
        n
        for n in names
        if not (n.lower().endswith(known) or is_metadata(n) or is_datasheet(n) or n.startswith("."))
    ]
    message = "neither an image nor a caption; training ignores it"
    return [finding("dataset.unknown-file", message, file=name) for name in odd]


def effective_number(measured: Sequence[Measured]) -> float:
    """How many different pictures the set is worth: the Vendi score on 16 × 16 thumbnails.

    Source: Friedman and Dieng 2023, https://arxiv.org/abs/2210.02410, definition 3.1.
    """
    features = np.stack([m.thumbnails[0] for m in measured if m.thumbnails is not None])
    vectors = features.reshape(len(features), -1).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.maximum(norms, 1e-9)
    kernel = np.clip(vectors @ vectors.T, 0, None)
    values = np.clip(np.linalg.eigvalsh(kernel / len(kernel)), 1e-12, None)
    values /= values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def sizes(measured: Sequence[Measured]) -> dict[str, int]:
    """The commonest sizes, and how many images have each."""
    counts = Counter(f"{image.width}×{image.height}" for image in measured)
    return dict(counts.most_common(12))
