"""The rules of validation: id → default severity. Each has a line in docs/dataset-checks.md."""

from __future__ import annotations

from lora_ci.core.finding import Finding, Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

RULES: dict[str, Severity] = {
    "dvc.object-missing": ERROR,
    "dataset.too-few-images": ERROR,
    "dataset.unknown-file": INFO,
    "path.unreadable": ERROR,
    "path.name": ERROR,
    "path.collision": ERROR,
    "image.unreadable": ERROR,
    "image.format": ERROR,
    "image.pointer": ERROR,
    "image.changed": ERROR,
    "image.timeout": ERROR,
    "image.payload": ERROR,
    "image.trailing-data": WARNING,
    "image.profile": WARNING,
    "image.transparent": INFO,
    "image.wrong-extension": WARNING,
    "image.too-large": ERROR,
    "image.too-small": ERROR,
    "image.animated": ERROR,
    "image.link": ERROR,
    "image.mode": WARNING,
    "image.blank": ERROR,
    "image.blurred": WARNING,
    "caption.missing": ERROR,
    "caption.two-files": WARNING,
    "caption.unreadable": ERROR,
    "caption.too-large": ERROR,
    "caption.encoding": ERROR,
    "caption.bom": WARNING,
    "caption.empty": ERROR,
    "caption.metadata": ERROR,
    "caption.orphan": WARNING,
    "caption.trigger-missing": ERROR,
    "caption.trigger-misspelled": ERROR,
    "caption.trigger-repeated": WARNING,
    "caption.trigger-cut": ERROR,
    "caption.trigger-common": WARNING,
    "caption.too-long": WARNING,
    "caption.length-not-measured": INFO,
    "caption.leftover": WARNING,
    "caption.markup": WARNING,
    "caption.prompt-syntax": WARNING,
    "caption.characters": WARNING,
    "caption.several-lines": WARNING,
    "caption.contradiction": WARNING,
    "caption.constant-word": INFO,
    "caption.mixed-style": WARNING,
    "caption.copy": WARNING,
    "duplicate.exact": ERROR,
    "duplicate.near": WARNING,
    "duplicate.leak": ERROR,
    "scan.found": ERROR,
}


def finding(
    rule: str,
    message: str,
    *,
    file: str | None = None,
    line: int | None = None,
    hint: str | None = None,
    severity: Severity | None = None,
) -> Finding:
    """A finding of a rule, at its default severity unless another is given."""
    return Finding(
        rule=rule,
        severity=severity or RULES[rule],
        message=message,
        file=file,
        line=line,
        hint=hint,
    )
