"""What was measured + settings → findings; nothing is read or decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from lora_ci.core.buckets import buckets_of, choose, growth, views_of
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.measured import Figures, Measured
from lora_ci.dataset.rules import finding
from lora_ci.dataset.sniff import SUFFIXES_OF

# A picture that loses less than this share of its edge strength to one more blur is blurred.
BLUR_FLOOR = 0.12
# From which score (the logarithm of the odds) a picture counts as soft: blurred, enlarged or moved.
# Made by `python -m benchmarks.dataset --fit`, on sources with an even number: a logistic
# regression of six octaves and the loss; one in ten sharp pictures there is called soft.
SOFT_WEIGHTS = (0.42, -4.47, 3.92, 3.02, -4.32, 0.95, -4.82)
SOFT_BIAS, SOFT_FROM = 1.66, 0.4
# Gray is a fault in a set of colors alone: where so many pictures have more than a trace of it.
GRAY_CHROMA, COLOR_CHROMA, COLOR_SHARE = 1.0, 3.0, 0.8
MIN_FOR_GRAY = 8
# Enlarged by less, a picture hardly loses; of a cut side, what is outside is never learned.
MAX_GROWTH, MAX_CUT = 1.15, 0.15
BUCKET_STEP = 64
HINTS = {
    "image.format": "convert it to PNG, JPEG or WebP, or move it out of the dataset",
    "image.pointer": "next: git lfs pull, or dvc pull",
    "image.unreadable": "fetch or save the original again",
    "image.changed": "validate again when nothing writes to it",
    "image.timeout": "save it anew with an image editor; a file made to hang a decoder stays out",
    "image.payload": "remove the file; a picture that also is something else has no good reason",
    "image.trailing-data": "save it anew: nobody sees what stands there",
    "image.profile": "convert it to sRGB",
    "image.too-large": "scale it down (validate.max_pixels)",
    "privacy.metadata": "write it without: lora-ci dataset build, or exiftool -all= <file>",
}
# Told once for the whole set: they are a way to store pictures, not a fault of one.
COMMON = {"image.transparent": "have transparency; training sees them on white"}


def image_findings(
    names: Sequence[str], measured: Sequence[Measured], settings: ValidateSettings
) -> list[Finding]:
    """All that is wrong with single pictures."""
    findings: list[Finding] = []
    for name, image in zip(names, measured, strict=True):
        findings += [
            finding(rule, message, file=name, hint=HINTS.get(rule))
            for rule, message in image.problems
            if rule not in COMMON
        ]
        if image.kind in SUFFIXES_OF:
            findings += _misnamed(name, image.kind)
        if image.figures is not None:
            findings += _size_findings(name, image, settings)
            findings += _quality_findings(name, image.figures, settings)
    for rule, text in COMMON.items():
        having = [n for n, m in zip(names, measured, strict=True) if rule in dict(m.problems)]
        if having:
            message = f"{len(having)} of {len(names)} images {text}, such as {having[0]}"
            findings.append(finding(rule, message))
    return [*findings, *_gray_findings(names, measured)]


def _misnamed(name: str, kind: str) -> list[Finding]:
    suffix = PurePosixPath(name).suffix
    if suffix.lower() in SUFFIXES_OF[kind]:
        return []
    hint = f"rename it to {PurePosixPath(name).stem}{min(SUFFIXES_OF[kind])}"
    message = f"a {kind} file named {suffix}"
    return [finding("image.wrong-extension", message, file=name, hint=hint)]


def _size_findings(name: str, image: Measured, settings: ValidateSettings) -> list[Finding]:
    size = (image.width, image.height)
    if min(size) < settings.min_side:
        message = f"{size[0]} × {size[1]}; the shorter side is below {settings.min_side}"
        hint = "use a larger original (validate.min_side)"
        return [finding("image.too-small", message, file=name, hint=hint)]
    if settings.resolution is None:
        return []
    findings = []
    bucket = choose(size, buckets_of(settings.resolution, min(BUCKET_STEP, settings.resolution)))
    view = views_of(size, bucket, "center")[0]
    if (times := growth(size, view)) > MAX_GROWTH:
        message = f"{size[0]} × {size[1]} is enlarged {times:.1f} times to train in {bucket}"
        hint = "use a larger original, or train at a lower resolution"
        findings.append(finding("image.enlarged", message, file=name, hint=hint))
    kept = bucket.width * bucket.height / (view.scaled[0] * view.scaled[1])
    if 1 - kept > MAX_CUT:
        message = f"{size[0]} × {size[1]} loses {1 - kept:.0%} of its area to the bucket {bucket}"
        hint = "cut it yourself, so that what matters stays"
        findings.append(finding("image.cut", message, file=name, hint=hint))
    return findings


def softness(figures: Figures) -> float:
    """The logarithm of the odds that a picture is blurred, enlarged or moved.

    0 for pictures of less than 16 tiles: they are judged by the loss alone.
    """
    if not any(figures.octaves):
        return 0.0
    terms = zip(SOFT_WEIGHTS, (*figures.octaves, figures.blur), strict=True)
    return SOFT_BIAS + sum(weight * value for weight, value in terms)


def _quality_findings(name: str, figures: Figures, settings: ValidateSettings) -> list[Finding]:
    """The faults that were measured; where blocks stand out, softness says nothing more."""
    found = []
    if figures.blockiness > settings.max_blockiness:
        message = f"JPEG's blocks stand out ({figures.blockiness:.1f} times)"
        found.append(("image.blocky", message, "max_blockiness"))
    elif figures.blur < BLUR_FLOOR:
        message = f"looks blurred: edges lose {figures.blur:.0%} to one more blur"
        found.append(("image.blurred", message, "blur"))
    elif softness(figures) > SOFT_FROM:
        message = f"looks blurred or enlarged (score {softness(figures):.1f}, from {SOFT_FROM})"
        found.append(("image.blurred", message, "blur"))
    if figures.noise > settings.max_noise:
        message = f"noisy: ±{figures.noise:.0f} levels where it is flat"
        found.append(("image.noisy", message, "max_noise"))
    if figures.dark < settings.min_highlight:
        message = f"very dark: 99 % of it is below level {figures.dark:.0f} of 255"
        found.append(("image.dark", message, "min_highlight"))
    if figures.washed > settings.max_washed:
        message = f"washed out: {figures.washed:.0%} of it is white in two colors or all"
        found.append(("image.washed-out", message, "max_washed"))
    if figures.border > settings.max_border:
        message = f"bars of one color cover {figures.border:.0%} of it"
        found.append(("image.border", message, "max_border"))
    return [
        finding(
            rule,
            message,
            file=name,
            hint=f"look at it; the threshold is validate.{setting}",
            severity=Severity(settings.blur) if rule == "image.blurred" else None,
        )
        for rule, message, setting in found
    ]


def _gray_findings(names: Sequence[str], measured: Sequence[Measured]) -> list[Finding]:
    """Gray pictures in a set of colored ones; a set of drawings in ink has none."""
    colors = [m.figures.chroma for m in measured if m.figures]
    if len(colors) < MIN_FOR_GRAY:
        return []
    if sum(chroma > COLOR_CHROMA for chroma in colors) < COLOR_SHARE * len(colors):
        return []
    hint = "say so in its caption, or remove it: else the concept may lose its colors"
    return [
        finding("image.gray", "gray, in a set of colored pictures", file=name, hint=hint)
        for name, image in zip(names, measured, strict=True)
        if image.figures and image.figures.chroma < GRAY_CHROMA
        if "image.blank" not in dict(image.problems)
    ]
