"""What was measured + settings → findings; nothing is read or decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.rules import finding
from lora_ci.dataset.sniff import SUFFIXES_OF

# A picture that loses less than this share of its edge strength to one more blur is blurred.
BLUR_FLOOR = 0.12
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
        if image.hashes is not None:
            findings += _small_or_blurred(name, image, settings)
    for rule, text in COMMON.items():
        having = [n for n, m in zip(names, measured, strict=True) if rule in dict(m.problems)]
        if having:
            message = f"{len(having)} of {len(names)} images {text}, such as {having[0]}"
            findings.append(finding(rule, message))
    return findings


def _misnamed(name: str, kind: str) -> list[Finding]:
    suffix = PurePosixPath(name).suffix
    if suffix.lower() in SUFFIXES_OF[kind]:
        return []
    hint = f"rename it to {PurePosixPath(name).stem}{min(SUFFIXES_OF[kind])}"
    message = f"a {kind} file named {suffix}"
    return [finding("image.wrong-extension", message, file=name, hint=hint)]


def _small_or_blurred(name: str, image: Measured, settings: ValidateSettings) -> list[Finding]:
    findings = []
    if min(image.width, image.height) < settings.min_side:
        message = f"{image.width} × {image.height}; the shorter side is below {settings.min_side}"
        hint = "use a larger original (validate.min_side)"
        findings.append(finding("image.too-small", message, file=name, hint=hint))
    if image.blur < BLUR_FLOOR:
        message = f"looks blurred: edges lose {image.blur:.0%} to one more blur"
        severity = Severity(settings.blur)
        findings.append(finding("image.blurred", message, file=name, severity=severity))
    return findings
