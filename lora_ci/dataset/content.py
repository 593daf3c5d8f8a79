"""What a scanner of pictures says of a dataset, against the limits of the config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.finding import Finding
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.decode import UnreadableError, read_file
from lora_ci.dataset.known import KnownAnswers
from lora_ci.dataset.normalise import open_upright
from lora_ci.dataset.rules import finding
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.safety import USUAL_LIMIT, PictureScanner, Scores, flagged

# Scanners look at a few hundred pixels a side; a program may want to read small print.
SIDE = 1024
BATCH = 32
# Labels of detectors: they forbid nothing, but ask for consent.
PEOPLE = ("face", "person")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was flagged, and the pictures that show people."""

    findings: tuple[Finding, ...] = ()
    people: tuple[str, ...] = ()


def check_content(
    folder: Path,
    images: Sequence[str],
    scanner: PictureScanner,
    known: KnownAnswers,
    settings: ValidateSettings,
    *,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Content:
    """Shows all images to the scanner, but for what is known of the same bytes.

    They have been decoded before, in a process apart.

    Raises:
        InfrastructureError: it cannot work, does not know a label that has a limit, or an image
            cannot be read: that is never a pass.
    """
    unknown = sorted(set(settings.content_limits) - set(scanner.labels or settings.content_limits))
    if unknown:
        message = f"`validate.content_limits`: the scanner has no label `{unknown[0]}`"
        hint = f"it has {', '.join(f'`{label}`' for label in (scanner.labels or ())[:20])}"
        raise InfrastructureError(message, rule="content.fails", hint=hint)
    findings, people, done = [], [], 0
    for names in _batched(images):
        files = {name: _read(folder / name) for name in names}
        digests = {name: sha256_bytes(data) for name, data in files.items()}
        new = {digests[n]: data for n, data in files.items() if known.get(digests[n]) is None}
        for digest, scores in zip(new, _scan(scanner, new.values()), strict=True):
            known.put(digest, dict(scores))
        for name in names:
            said = known.get(digests[name])
            if said is None:
                raise AssertionError(f"nothing was said of {name}")
            labels = flagged(said, settings.content_limits)
            if any(label in PEOPLE for label in labels):
                people.append(name)
            refused = [label for label in labels if label not in PEOPLE]
            if refused and (found := _finding(name, digests[name], refused, said, settings)):
                findings.append(found)
        done += len(names)
        progress(done, len(images), "images scanned")
    return Content(findings=tuple(findings), people=tuple(people))


def _finding(
    name: str, digest: str, labels: Sequence[str], scores: Scores, settings: ValidateSettings
) -> Finding | None:
    """The finding of a flagged picture; None for one that a person let stay."""
    limits = settings.content_limits
    told = ", ".join(
        f"`{label}` ({scores[label]:.2f}; limit {limits.get(label, USUAL_LIMIT):g})"
        for label in labels[:5]
    )
    message = f"the scanner sees {told}"
    if settings.content_policy == "review":
        if digest in settings.reviewed:
            return None
        hint = f"look at it; if it may stay, add {digest} to `validate.reviewed`"
        return finding("content.review", message, file=name, hint=hint)
    hint = "remove it; where the scanner is often wrong, set `validate.content_limits`"
    return finding("content.blocked", message, file=name, hint=hint)


def _scan(scanner: PictureScanner, files: Iterable[bytes]) -> Sequence[Scores]:
    try:
        pictures = [_picture(data) for data in files]
        return scanner.scan(pictures) if pictures else ()
    except InputError as error:
        # Whatever is wrong with what scans, the pictures were not looked at.
        raise InfrastructureError(str(error), findings=error.findings) from error


def _picture(data: bytes) -> Picture:
    """The picture as people see it, scaled down to 1024 pixels a side."""
    try:
        picture = open_upright(data, about=SIDE)
    except Exception as error:
        message = f"an image could not be shown to the scanner: {type(error).__name__}: {error}"
        raise InfrastructureError(message[:300], rule="content.fails") from error
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except UnreadableError as error:
        message = f"{path.name} was not scanned: {error}"
        raise InfrastructureError(message, rule="content.fails") from error


def _batched(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))
