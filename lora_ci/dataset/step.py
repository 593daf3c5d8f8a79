"""The door of the room: runs the `validate` step."""

from __future__ import annotations

from lora_ci.core.errors import Interrupted
from lora_ci.core.settings import ValidateSettings, parse_settings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.dataset.validate import validate_folder


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Validates the dataset; it fails if any finding is an error."""

    def progress(done: int, total: int, note: str) -> None:
        context.progress(done, total, note)
        if context.stop_requested():
            raise Interrupted(f"stopped after {done} of {total} {note}")

    given = {n: context.input_path(n) for n in ("references", "base_model") if n in spec.inputs}
    validation = validate_folder(
        context.input_path("dataset"),
        str(spec.params["trigger"]),
        parse_settings(spec.params["settings"], ValidateSettings),
        shown_as=str(spec.params["dataset"]),
        missing=[str(name) for name in spec.params["missing"]],
        references=given.get("references"),
        base_model=given.get("base_model"),
        cache=context.cache,
        progress=progress,
    )
    return StepResult(
        outcome=Outcome.FAILED if validation.failed else Outcome.PASSED,
        metrics=validation.metrics,
        findings=validation.findings,
        details={"statistics": validation.statistics},
    )
