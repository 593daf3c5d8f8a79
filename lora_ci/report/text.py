"""Plans and runs for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome

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
    verdict = f"{SIGNS[view.outcome]} {view.outcome} in {view.duration_s:.1f} s (run {view.run_id})"
    return "\n".join([*_table(("lora", "stage", "result", "why"), rows), "", verdict])


def outcome_text(step: StepView) -> tuple[str, str]:
    """The result of a stage in a word, and what is most worth knowing about it."""
    if step.result is None:
        return str(step.decision.action), clean(step.decision.why)
    word = f"{SIGNS[step.result.outcome]} {step.result.outcome}"
    if step.decision.action is Action.REUSE:
        word += " (reused)"
    return word, clean(key_figures(step) or step.decision.why)


def key_figures(step: StepView) -> str:
    """The figures that tell most about a result."""
    if step.result is None:
        return ""
    metrics = step.result.metrics
    if "loss_last" in metrics:
        return (
            f"loss {metrics['loss_first']:.3f} → {metrics['loss_last']:.3f}; {why(step.decision)}"
        )
    if "images" in metrics:
        return (
            f"{metrics['images']:.0f} images, {metrics.get('errors', 0):.0f} errors, "
            f"{metrics.get('warnings', 0):.0f} warnings; {why(step.decision)}"
        )
    return ""


def why(decision: Decision) -> str:
    """The reason, without control characters."""
    return clean(decision.why)


def clean(text: str) -> str:
    """One printable line: file names and messages can hold control sequences."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head) - 1)]
    lines = []
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines
