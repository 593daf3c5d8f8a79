"""A plan as markdown: what changed, what will run and why, before anything has run."""

from __future__ import annotations

from lora_ci.core.plan import Action, Plan
from lora_ci.plan.why import describe_change
from lora_ci.report.markdown import code, cut, escape, prose
from lora_ci.report.text import hours, summary

ACTIONS = {
    Action.RUN: "▶️ run",
    Action.WAIT: "⏳ then",
    Action.REUSE: "♻️ reuse",
    Action.BLOCKED: "⛔ blocked",
}


def render_plan_markdown(plan: Plan) -> str:
    """The plan for a comment or a job summary; safe against whatever names and texts hold."""
    if plan.skipped:
        return f"### lora-ci: skipped\n\n{prose(plan.skipped)}\n"
    lines = ["### lora-ci: the plan", "", prose(summary(plan)), ""]
    changes = plan.changes
    if changes.base:
        for change in changes.datasets:
            lines.append(f"- `{code(change.dataset)}`: {escape(describe_change(change))}")
        for file, keys in changes.configs.items():
            shown = ", ".join(f"`{code(key)}`" for key in keys)
            lines.append(f"- `{code(file)}`: {shown}")
        if changes.datasets or changes.configs:
            lines.append("")
    if plan.decisions:
        lines += ["| LoRA | stage | | GPU-hours | why |", "|---|---|---|---|---|"]
    lines += [
        f"| {escape(d.lora)} | {d.stage} | {ACTIONS[d.action]} | {hours(d.estimate)} "
        f"| {prose(d.why)} |"
        for d in plan.decisions
    ]
    if changes.base:
        since = f"compared with {changes.base[:7]}"
        why = f": {prose(changes.range_why)}" if changes.range_why else ""
        lines += ["", f"<sub>{since}{why}</sub>"]
    return cut("\n".join(lines) + "\n")
