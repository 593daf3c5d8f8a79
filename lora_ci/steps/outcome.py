"""What an error makes of a step: the only place where one becomes an outcome."""

from __future__ import annotations

import traceback
from pathlib import Path

from lora_ci.core.errors import (
    InputError,
    Interrupted,
    LoraCIError,
    UsageError,
    machine_error,
)
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome, StepResult


def result_of(error: BaseException, work: str, place: Path) -> StepResult:
    """The result of `work` (`train of mei`) in the folder `place` that ended with an error."""
    match error:
        case Interrupted():
            return StepResult(outcome=Outcome.INTERRUPTED, findings=error.findings)
        case KeyboardInterrupt():
            return StepResult(outcome=Outcome.INTERRUPTED)
        case InputError() | UsageError():
            return StepResult(outcome=Outcome.FAILED, findings=error.findings)
        case LoraCIError():
            return StepResult(outcome=Outcome.ERROR, findings=error.findings)
        case OSError() if expected := machine_error(error, place):
            return StepResult(outcome=Outcome.ERROR, findings=expected.findings)
        case ModuleNotFoundError():
            return _error(
                "step.not-installed",
                f"{work} needs the Python package `{error.name}`, which is not installed",
                "next: pip install 'lora-ci[all]'",
            )
        case MemoryError():
            return _error(
                "step.out-of-memory",
                f"{work} ran out of memory",
                "next: set a smaller train.batch_size or train.resolution, or end other programs",
            )
        case _:
            message = f"{work} crashed: {type(error).__name__}: {error}"
            hint = "this is a bug in lora-ci: please report it with the traceback in the report"
            text = "".join(traceback.format_exception(error))
            return _error("step.crashed", message, hint, traceback=text)


def _error(rule: str, message: str, hint: str, **details: str) -> StepResult:
    finding = Finding(rule=rule, severity=Severity.ERROR, message=message, hint=hint)
    return StepResult(outcome=Outcome.ERROR, findings=(finding,), details=details)
