"""The door of the room: runs the `validate` step."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from lora_ci.core.errors import Interrupted
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import LoraType, ValidateSettings, parse_settings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.dataset.safety import (
    ScannedWith,
    ask_for_consent,
    below,
    file_scanners,
    look_at_content,
    scan_folders,
)
from lora_ci.dataset.validate import validate_folder

# Of such a picture it is a person's turn to say something.
REVIEW = "content.review"


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Validates the dataset; it fails if any finding is an error.

    Files are scanned before anything decodes them, and pictures after that: where malware was
    found, nothing is decoded.
    """

    def progress(done: int, total: int, note: str) -> None:
        context.progress(done, total, note)
        if context.stop_requested():
            raise Interrupted(f"stopped after {done} of {total} {note}")

    given = {name: context.input_path(name) for name in spec.inputs}
    folder, shown_as = context.input_path("dataset"), str(spec.params["dataset"])
    settings = parse_settings(spec.params["settings"], ValidateSettings)
    scanners = file_scanners(settings, given.get("rules"), os.environ)
    folders = {folder: shown_as}
    if "references" in given:
        folders[given["references"]] = spec.inputs["references"].shown_as or "references"
    if infected := scan_folders(folders, scanners, context.cache, progress):
        return StepResult(outcome=Outcome.FAILED, findings=tuple(infected))
    validation = validate_folder(
        folder,
        str(spec.params["trigger"]),
        settings,
        shown_as=shown_as,
        missing=[str(name) for name in spec.params["missing"]],
        references=given.get("references"),
        base_model=given.get("base_model"),
        cache=context.cache,
        progress=progress,
    )
    scanner = spec.inputs.get("scanner")
    with_what = ScannedWith(
        folder=given.get("scanner"), content_id=scanner.content_id if scanner else ""
    )
    prefix = f"{shown_as}/" if shown_as else ""
    errors = [f.file for f in validation.findings if f.severity is Severity.ERROR and f.file]
    damaged = {name.removeprefix(prefix) for name in errors}
    content = look_at_content(
        folder, damaged, settings, with_what, cache=context.cache, progress=progress
    )
    kind = LoraType(spec.params["type"])
    asked = ask_for_consent(folder, settings, kind, content.people)
    safety = below(shown_as, [*content.findings, *asked])
    findings = (*validation.findings, *safety)
    metrics = dict(validation.metrics)
    metrics["errors"] += sum(f.severity is Severity.ERROR for f in safety)
    metrics["warnings"] += sum(f.severity is Severity.WARNING for f in safety)
    rules = Counter(validation.statistics["rules"]) + Counter(f.rule for f in safety)
    return StepResult(
        outcome=_outcome(findings),
        metrics=metrics,
        findings=findings,
        details={"statistics": validation.statistics | {"rules": dict(sorted(rules.items()))}},
    )


def _outcome(findings: Iterable[Finding]) -> Outcome:
    severities = {f.severity for f in findings}
    if Severity.ERROR in severities:
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE if any(f.rule == REVIEW for f in findings) else Outcome.PASSED
