"""The pull-request comment: one screen of markdown, safe against whatever names and texts hold."""

from __future__ import annotations

import html
import re

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome
from lora_ci.report.text import clean, outcome_text

MARKER = "<!-- lora-ci -->"
# GitHub's limit for a comment body is 65,536 characters.
MAX_CHARACTERS = 65_000
SHOWN_FINDINGS = 10
VERDICTS = {
    Outcome.PASSED: "✅ passed",
    Outcome.FAILED: "❌ failed",
    Outcome.INCONCLUSIVE: "❔ inconclusive",
    Outcome.INTERRUPTED: "⏸️ interrupted",
    Outcome.ERROR: "⚠️ could not be finished",
}
ICONS = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.INFO: "ℹ️"}


def render_comment(view: RunView, report_url: str | None = None) -> str:
    """The comment of a run; the verdict is on top, so that cutting keeps it."""
    lines = [
        MARKER,
        f"### lora-ci: {VERDICTS[view.outcome]}",
        "",
        "| LoRA | stage | result | why |",
        "|---|---|---|---|",
    ]
    for step in view.steps:
        word, figures = outcome_text(step)
        decision = step.decision
        cells = (escape(decision.lora), str(decision.stage), word, escape(figures))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    if report_url:
        lines += [f"[Full report]({report_url})", ""]
    for lora in view.loras():
        findings = [f for s in view.of(lora) if s.result for f in s.result.findings]
        lines += render_findings(lora, findings)
    lines += render_findings("config and inputs", list(view.plan.findings))
    lines.append(f"<sub>commit {escape(view.event.head[:7])} · run {escape(view.run_id)}</sub>")
    return cut("\n".join(lines) + "\n")


def render_findings(title: str, findings: list[Finding]) -> list[str]:
    """A folded list, errors first; open if there is an error."""
    if not findings:
        return []
    order = list(Severity)
    findings = sorted(findings, key=lambda f: order.index(f.severity))
    state = " open" if findings[0].severity is Severity.ERROR else ""
    counted = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    lines = [f"<details{state}><summary>{escape(title)}: {counted}</summary>", ""]
    for finding in findings[:SHOWN_FINDINGS]:
        where = f"`{code(finding.location())}` " if finding.file else ""
        hint = f" — {escape(finding.hint)}" if finding.hint else ""
        lines.append(f"- {ICONS[finding.severity]} {where}{escape(finding.message)}{hint}")
    if len(findings) > SHOWN_FINDINGS:
        lines.append(f"- … and {len(findings) - SHOWN_FINDINGS} more in the report")
    return [*lines, "", "</details>", ""]


def escape(text: str) -> str:
    """Foreign text as plain words in markdown: no link, mention, image, HTML or table cell."""
    plain = html.escape(clean(text), quote=False)
    plain = re.sub(r"([\\`*_{}\[\]()#+!|~>-])", r"\\\1", plain)
    # A zero-width space after @ and :// keeps GitHub from making mentions and links.
    return plain.replace("@", "@\u200b").replace("://", ":\u200b//").replace("::", ":\u200b:")


def code(text: str) -> str:
    """Foreign text inside a code span."""
    return clean(text).replace("`", "'").replace("|", "¦").replace("::", ":\u200b:")


def cut(text: str) -> str:
    """At most as long as GitHub takes, the top kept."""
    if len(text) <= MAX_CHARACTERS:
        return text
    note = "\n\n… cut here: the report has the rest.\n"
    return text[: MAX_CHARACTERS - len(note)].rsplit("\n", 1)[0] + note
