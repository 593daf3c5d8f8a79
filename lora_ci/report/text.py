"""Plans and runs for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.core.finding import Severity
from lora_ci.core.plan import Action, Decision, Estimate, Plan, Sharing
from lora_ci.core.run import RunView, StepView
from lora_ci.core.shard import parse_shard
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.core.text import clean
from lora_ci.plan.explain import Explanation
from lora_ci.plan.why import describe_change
from lora_ci.report.details import Details, metric, read_details
from lora_ci.report.figures import NOT_MEASURED, counted, duration, number, plain
from lora_ci.report.progress import percent, progress_text
from lora_ci.report.trained import loss_text, merged_text

SHOWN_KEYS = 6
LONGEST_PART = 48
SIGNS: dict[Outcome | None, str] = {
    None: "…",
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.INCONCLUSIVE: "?",
    Outcome.INTERRUPTED: "‖",
    Outcome.ERROR: "!",
}


def render_plan_text(plan: Plan) -> str:
    """What changed, then one line a stage: what happens with it, and why."""
    if plan.skipped:
        return f"nothing is looked at: {clean(plan.skipped)}"
    head: tuple[str, ...] = ("lora", "stage", "action", "GPU-h", "why")
    rows: list[tuple[str, ...]] = [
        (d.lora, str(d.stage), str(d.action), hours(d.estimate), clean(d.why))
        for d in plan.decisions
    ]
    if not any(d.estimate for d in plan.decisions):
        head, rows = head[:3] + head[4:], [row[:3] + row[4:] for row in rows]
    shown = [*aligned(head, rows), ""] if rows else []
    return "\n".join([*changes_text(plan), *shown, *sharing_text(plan), summary(plan)])


def sharing_text(plan: Plan) -> list[str]:
    """What each matrix comes to, and a line for each rule that saves something."""
    lines: list[str] = []
    for found in plan.sharing:
        lines += [f"{clean(found.of)}: {sharing_summary(found)}"]
        lines += [f"  {saving.trainings} fewer: {saving.rule}" for saving in found.saved]
        if found.apart:
            lines += [f"  no longer budget continues a shorter one: {found.apart}"]
    return [*lines, ""] if lines else []


def sharing_summary(found: Sharing) -> str:
    """`81 configurations, 21 trainings`."""
    counts = counted(found.configurations, "configuration"), counted(found.trainings, "training")
    return ", ".join(counts)


def changes_text(plan: Plan) -> list[str]:
    """A line for each dataset and config file that differs from the base commit."""
    changes = plan.changes
    lines = [f"{c.dataset}: {describe_change(c)}" for c in changes.datasets]
    for file, keys in changes.configs.items():
        shown = ", ".join(keys[:SHOWN_KEYS])
        more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
        lines.append(f"{file}: {shown}{more}")
    if changes.base is None and changes.range_why:
        return [clean(f"compared with nothing: {changes.range_why}"), ""]
    if not lines or changes.base is None:
        return []
    since = f"since {changes.base[:7]}"
    why_base = f" ({changes.range_why})" if changes.range_why else ""
    return [clean(f"changed {since}{why_base}"), *(clean(f"  {line}") for line in lines), ""]


def summary(plan: Plan) -> str:
    """How much is to do, and what it costs."""
    runs = sum(d.action is Action.RUN for d in plan.decisions)
    waits = sum(d.action is Action.WAIT for d in plan.decisions)
    if not runs:
        blocked = any(d.action is Action.BLOCKED for d in plan.decisions)
        return "nothing to run" + (": see what blocks it" if blocked else "")
    told = f"{counted(runs, 'step')} to run" + (f", {waits} after them" if waits else "")
    if plan.estimate:
        told += f"; {hours(plan.estimate)} GPU-hours ({clean(plan.estimate.basis)})"
    return told


def hours(cost: Estimate | None) -> str:
    """`0.4–1.2`; what is tiny is told as that."""
    if cost is None:
        return ""
    if cost.high < 0.05:
        return "< 0.1"
    return f"{cost.low:.1f}–{cost.high:.1f}"


def render_explanations(told: Sequence[Explanation]) -> str:
    """Stage by stage: the decision, then each part that moved and how many did not."""
    lines: list[str] = []
    for one in told:
        lines += [f"{one.stage}: {one.action} – {clean(one.why)}"]
        if one.fingerprint:
            lines.append(f"  fingerprint {one.fingerprint[:16]}")
        if one.nearest:
            lines.append(f"  nearest     {one.nearest[:16]} of run {clean(one.run_id or '')}")
        elif one.fingerprint:
            lines.append("  nearest     none: nothing of this stage was recorded")
        moved = [p for p in one.parts if not p.same]
        if not one.nearest:
            rows: list[tuple[str, ...]] = [(p.name, _part(p.now)) for p in one.parts]
            table = aligned(("part", "now"), rows)
        else:
            rows = [(p.name, _part(p.now), _part(p.then)) for p in moved]
            table = aligned(("part", "now", "then"), rows)
        lines += [f"    {line}" for line in table if rows]
        if one.nearest:
            same = len(one.parts) - len(moved)
            lines.append(f"    {counted(same, 'part')} the same, {len(moved)} moved")
        lines.append("")
    return "\n".join(lines[:-1])


def _part(value: str | None) -> str:
    if value is None:
        return "default"
    return value if len(value) <= LONGEST_PART else f"{value[:16]}…"


def render_run_text(view: RunView) -> str:
    """One line a stage with its outcome, then the verdict."""
    rows = [(s.decision.lora, str(s.decision.stage), *outcome_text(s)) for s in view.steps]
    state = f"{view.outcome} in" if view.outcome else "going on for"
    told = f"{state} {duration(view.duration_s)} (run {clean(view.run_id)})"
    verdict = f"{SIGNS[view.outcome]} {told}"
    shown = [*aligned(("lora", "stage", "result", "why"), rows), ""] if rows else []
    return "\n".join([*shown, verdict])


def outcome_text(step: StepView) -> tuple[str, str]:
    """The result of a stage in a word, and what is most worth knowing about it."""
    if step.result is None:
        if step.progress:
            share = percent(step.progress)
            return f"running {share}".rstrip(), clean(progress_text(step.progress))
        return str(step.decision.action), clean(step.decision.why)
    word = f"{SIGNS[step.result.outcome]} {step.result.outcome}"
    if step.decision.action is Action.REUSE:
        word += " (reused)"
    told = key_figures(step) or next((f.message for f in step.result.findings), "")
    return word, clean(told or step.decision.why)


def stage_words(decision: Decision) -> str:
    """`train`; of a shard `train of shard 1 of 3`."""
    shard = parse_shard(decision.lora)
    return f"{decision.stage} of {shard.words}" if shard else str(decision.stage)


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
            return _training_figures(result, details)
        case Stage.QA:
            return _qa_figures(details)
        case Stage.OPTIMIZE:
            weight = metric(result, "recommended_weight")
            return [] if weight is None else [f"recommended weight {plain(weight)}"]
        case Stage.DEPLOY:
            release = details.release
            if release is None:
                return []
            return [" → ".join(filter(None, (release.version, ", ".join(release.channels))))]


def _dataset_figures(result: StepResult | None) -> list[str]:
    images = metric(result, "images")
    if images is None:
        return []
    counts = [counted(int(metric(result, f"{n}s") or 0), n) for n in ("error", "warning")]
    return [", ".join([counted(int(images), "image"), *counts])]


def _training_figures(result: StepResult | None, details: Details) -> list[str]:
    if result is None:
        return []
    warnings = sum(f.severity is Severity.WARNING for f in result.findings)
    told = [
        loss_text(result, details) or merged_text(result),
        counted(warnings, "warning") if warnings else "",
    ]
    return [", ".join(filter(None, told))] if told[0] else []


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


def aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table; foreign text loses its control characters."""
    lines = [[clean(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    return ["  ".join([*map(str.ljust, line, widths), line[-1]]).rstrip() for line in lines]
