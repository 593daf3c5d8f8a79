"""Plans and runs for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.details import Details, metric, read_details
from lora_ci.report.figures import NOT_MEASURED, counted, duration, number, plain

SIGNS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.INCONCLUSIVE: "?",
    Outcome.INTERRUPTED: "‖",
    Outcome.ERROR: "!",
}


def render_plan_text(plan: Plan) -> str:
    """One line a stage: what happens with it, and why."""
    rows = [(d.lora, str(d.stage), str(d.action), clean(d.why)) for d in plan.decisions]
    count = len(plan.to_run())
    last = f"{count} step{'s' * (count != 1)} to run" if count else "nothing to run"
    if plan.gpu_hours:
        last += f", about {plan.gpu_hours:.1f} GPU-hours"
    return "\n".join([*_table(("lora", "stage", "action", "why"), rows), "", last])


def render_run_text(view: RunView) -> str:
    """One line a stage with its outcome, then the verdict."""
    rows = [(s.decision.lora, str(s.decision.stage), *outcome_text(s)) for s in view.steps]
    told = f"{view.outcome} in {duration(view.duration_s)} (run {clean(view.run_id)})"
    verdict = f"{SIGNS[view.outcome]} {told}"
    return "\n".join([*_table(("lora", "stage", "result", "why"), rows), "", verdict])


def outcome_text(step: StepView) -> tuple[str, str]:
    """The result of a stage in a word, and what is most worth knowing about it."""
    if step.result is None:
        return str(step.decision.action), clean(step.decision.why)
    word = f"{SIGNS[step.result.outcome]} {step.result.outcome}"
    if step.decision.action is Action.REUSE:
        word += " (reused)"
    told = key_figures(step) or next((f.message for f in step.result.findings), "")
    return word, clean(told or step.decision.why)


def key_figures(step: StepView) -> str:
    """The figures that tell most about a result, and the reason why it was made or reused."""
    told = "; ".join(_figures(step))
    return f"{told}; {why(step.decision)}" if told else ""


def _figures(step: StepView) -> list[str]:
    stage, result = step.decision.stage, step.result
    details = read_details(stage, result)
    match stage:
        case Stage.VALIDATE:
            return _dataset_figures(result)
        case Stage.TRAIN:
            first, last = metric(result, "loss_first"), metric(result, "loss_last")
            if first is None or last is None:
                return []
            return [f"loss {number(first, 3)} → {number(last, 3)}"]
        case Stage.QA:
            return _qa_figures(details)
        case Stage.OPTIMIZE:
            weight = metric(result, "recommended_weight")
            return [] if weight is None else [f"recommended weight {plain(weight)}"]
        case Stage.DEPLOY:
            release = details.release
            return [f"{release.version} → {release.channel}"] if release else []


def _dataset_figures(result: StepResult | None) -> list[str]:
    images = metric(result, "images")
    if images is None:
        return []
    counts = [counted(int(metric(result, f"{n}s") or 0), n) for n in ("error", "warning")]
    return [", ".join([counted(int(images), "image"), *counts])]


def _qa_figures(details: Details) -> list[str]:
    told = []
    if details.overall and details.overall.score is not None:
        told.append(f"overall {number(details.overall.score)}")
    if weakest := details.weakest:
        score = NOT_MEASURED if weakest.score is None else number(weakest.score)
        told.append(f"weakest: {weakest.name} {score}")
    if details.unreadable:
        told.append(f"not readable: {', '.join(details.unreadable)}")
    return [", ".join(told)] if told else []


def why(decision: Decision) -> str:
    """The reason, without control characters."""
    return clean(decision.why)


def clean(text: str) -> str:
    """One printable line: file names and messages can hold control sequences."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [[clean(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    return ["  ".join([*map(str.ljust, line, widths), line[-1]]).rstrip() for line in lines]
