"""The rules of validation: id → default severity. Each has a line in docs/dataset-checks.md."""

from __future__ import annotations

from lora_ci.core.finding import Finding, Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

RULES: dict[str, Severity] = {
    "dvc.object-missing": ERROR,
    "dataset.too-few-images": ERROR,
    "dataset.unknown-file": INFO,
    "image.unreadable": ERROR,
    "image.wrong-extension": WARNING,
    "image.too-large": ERROR,
    "image.too-small": ERROR,
    "image.animated": ERROR,
    "image.link": ERROR,
    "image.mode": WARNING,
    "image.blank": ERROR,
    "image.blurred": WARNING,
    "caption.missing": ERROR,
    "caption.empty": ERROR,
    "caption.encoding": ERROR,
    "caption.too-large": ERROR,
    "caption.metadata": ERROR,
    "caption.trigger-missing": ERROR,
    "caption.trigger-repeated": WARNING,
    "caption.too-long": WARNING,
    "caption.length-not-measured": INFO,
    "caption.orphan": WARNING,
    "caption.constant-word": INFO,
    "duplicate.exact": ERROR,
    "duplicate.near": WARNING,
    "duplicate.leak": ERROR,
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
