"""A plan as markdown: what changed, what will run and why, before anything has run."""

from __future__ import annotations

from lora_ci.core.plan import Action, Plan
from lora_ci.report.changes import render_changes_markdown
from lora_ci.report.finding_list import render_findings
from lora_ci.report.markdown import cut, escape, prose, table
from lora_ci.report.text import hours, sharing_text, summary

ACTIONS = {
    Action.RUN: "▶️ run",
    Action.WAIT: "⏳ then",
    Action.REUSE: "♻️ reuse",
    Action.BLOCKED: "⛔ blocked",
}


def render_plan_markdown(plan: Plan) -> str:
    """The plan for a job summary; safe against whatever names and texts hold."""
    if plan.skipped:
        return f"### lora-ci: skipped\n\n{prose(plan.skipped)}\n"
    lines = ["### lora-ci: the plan", "", prose(summary(plan)), ""]
    lines += render_changes_markdown(plan.changes)
    told = sharing_text(plan)
    lines += [*(f"- {prose(line.strip())}" for line in told if line), ""] if told else []
    rows = [
        (escape(d.lora), str(d.stage), ACTIONS[d.action], hours(d.estimate), prose(d.why))
        for d in plan.decisions
    ]
    if rows:
        lines += [*table(("LoRA", "stage", "", "GPU-hours", "why"), rows), ""]
    lines += render_findings({"": plan.findings})
    base, why = plan.changes.base, plan.changes.range_why
    if base and why:
        lines.append(f"<small>compared with {escape(base[:7])}: {prose(why)}</small>")
    return cut("\n".join(lines) + "\n")
