"""What is odd about the pictures and captions of a training, though it can go on."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.core.finding import Finding, Severity
from lora_ci.training.captions import has_trigger
from lora_ci.training.data import Sample

VALIDATE = "next: lora-ci dataset validate"


def caption_findings(samples: Sequence[Sample], trigger: str, what: str) -> list[Finding]:
    """Captions that are missing, or lack the trigger."""
    findings = []
    missing = [sample for sample in samples if not sample.captioned]
    if missing:
        said = f"the trigger `{trigger}` stands for it" if trigger else "they train without"
        message = f"{len(missing)} of {len(samples)} {what} have no caption: {said}"
        findings.append(_warning("train.caption-missing", message, missing[0].name, VALIDATE))
    absent = [s for s in samples if trigger and not has_trigger(s.caption, trigger)]
    if absent:
        message = f"{len(absent)} of {len(samples)} captions do not contain the trigger `{trigger}`"
        hint = f"write `{trigger}` into them, or set `trigger:` in .lora-ci.yml"
        findings.append(_warning("train.trigger-absent", message, absent[0].name, hint))
    return findings


def enlarged_finding(
    scales: Sequence[tuple[Sample, float]], count: int, resolution: int
) -> list[Finding]:
    """Those of `count` pictures that have fewer pixels than they are trained at, each with how
    many times its sides grow."""
    if not scales:
        return []
    worst, scale = max(scales, key=lambda pair: pair[1])
    message = f"{len(scales)} of {count} pictures are enlarged to the resolution {resolution}, "
    message += f"up to {scale:.2g} times"
    hint = "blur is learned from them: use larger pictures, or set a smaller train.resolution"
    return [_warning("train.enlarged", message, worst.name, hint)]


def large_cache_finding(used_bytes: int, limit_bytes: int) -> list[Finding]:
    """A training whose own latents and captions are more than the cache may keep."""
    if used_bytes <= limit_bytes:
        return []
    used, limit = used_bytes / 2**30, limit_bytes / 2**30
    message = f"latents and captions take {used:.1f} GiB on disk; only {limit:.1f} GiB are kept"
    hint = "the next training may have to encode some again; fewer views (train.crop, train.flip) "
    hint += "and orders of captions (train.shuffle_captions) take less"
    return [Finding(rule="train.cache-large", severity=Severity.INFO, message=message, hint=hint)]


def _warning(rule: str, message: str, file: str, hint: str) -> Finding:
    return Finding(
        rule=rule, severity=Severity.WARNING, message=f"{message} (such as {file})", hint=hint
    )
