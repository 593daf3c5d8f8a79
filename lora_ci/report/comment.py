"""The pull-request comment: one screen of markdown, safe against whatever names and texts hold.

From top to bottom: the verdict and its reason; a block for each LoRA that QA judged; what was
found; what ran and why. Addresses of links and pictures come from the forge alone.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.run import RunView, StepView, overall_outcome
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.text import clean
from lora_ci.report.details import Details, Overall, Score
from lora_ci.report.figures import between, counted, number, plain, shorten, signed
from lora_ci.report.findings import Fault, faults, findings_of
from lora_ci.report.markdown import address, bar, code, cut, escape, escape_html, prose
from lora_ci.report.reason import (
    VERDICTS,
    change,
    details_of,
    lora_reason,
    reason,
    recommended_weight,
)
from lora_ci.report.text import outcome_text

MARKER = "<!-- lora-ci -->"
SHOWN_FAULTS = 10
SHOWN_PLACES = 4
SHOWN_TESTS = 10
# More LoRAs than this and those that passed are folded.
UNFOLDED = 2
MOST_WORDS = 300
ICONS = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.INFO: "ℹ️"}


def render_comment(
    view: RunView, report_url: str | None = None, pictures: Mapping[str, str] | None = None
) -> str:
    """The comment of a run; `pictures` gives the address of each LoRA's grid of pictures.

    The verdict is on top, so that cutting keeps it.
    """
    grids = pictures or {}
    judged = any(details_of(view.of(lora))[Stage.QA].judged for lora in view.loras())
    lines = [
        MARKER,
        f"### lora-ci: {VERDICTS[view.outcome]}",
        "",
        prose(_sentence(reason(view))),
        "",
    ]
    if not judged:
        lines += [*_stage_table(view.steps), ""]
    for lora in view.loras():
        if judged:
            lines += _lora(view, lora, grids.get(lora))
        else:
            lines += _findings(lora, findings_of(view.of(lora)))
    lines += _findings("config and inputs", view.plan.findings)
    if judged:
        what = f"What ran and why: {counted(len(view.steps), 'stage')}"
        lines += _folded(what, _stage_table(view.steps))
    lines += _footer(view, report_url)
    return cut("\n".join(lines) + "\n", report_url)


def render_check(
    view: RunView, lora: str, report_url: str | None = None, grid_url: str | None = None
) -> str:
    """The text of the check of one LoRA: its block of the comment and its stages."""
    steps = view.of(lora)
    lines = [prose(_sentence(lora_reason(steps))), ""]
    if details_of(steps)[Stage.QA].judged:
        lines += _judgement(steps, grid_url)
    lines += [*_stage_table(steps), "", *_findings(lora, findings_of(steps))]
    lines += _footer(view, report_url)
    return cut("\n".join(lines) + "\n", report_url)


def _lora(view: RunView, lora: str, grid: str | None) -> list[str]:
    """What came of one LoRA; where it is the only one, the heading has said it."""
    steps, count = view.of(lora), len(view.loras())
    outcome = overall_outcome(steps)
    icon = VERDICTS[outcome].split()[0]
    details = details_of(steps)
    findings = _findings(lora, findings_of(steps))
    if not details[Stage.QA].judged:
        told = prose(_sentence(lora_reason(steps)))
        return [f"#### {icon} {escape(lora)}", "", told, "", *findings]
    body = [*_judgement(steps, grid), *findings]
    total = details[Stage.QA].overall
    score = f" · {number(total.score)}" if total and total.score is not None else ""
    if count == 1:
        return body
    if count <= UNFOLDED:
        return [f"#### {icon} {escape(lora)}{score}", "", *body]
    facts = [f"<b>{escape_html(lora)}</b>{score}", escape_html(change(details[Stage.QA]))]
    summary = f"{icon} {' · '.join(fact for fact in facts if fact)}"
    return _folded_html(summary, body, is_open=outcome is not Outcome.PASSED)


def _judgement(steps: tuple[StepView, ...], grid: str | None) -> list[str]:
    """What QA, optimize and deploy came to."""
    found = details_of(steps)
    qa = found[Stage.QA]
    lines = [*render_scores(qa), ""]
    facts = [_against_released(qa)]
    weight = recommended_weight(steps)
    if weight is not None:
        facts.append(f"recommended weight **{plain(weight)}**")
    if release := found[Stage.DEPLOY].release:
        to = ", ".join(f"`{code(channel)}`" for channel in release.channels)
        facts.append(f"released **{escape(release.version)}**" + (f" to {to}" if to else ""))
    if told := " · ".join(fact for fact in facts if fact):
        lines += [told[0].upper() + told[1:], ""]
    missing = [name for stage in Stage for name in found[stage].unreadable]
    if missing:
        lines += [f"⚠️ not readable in the results: {escape(', '.join(missing))}", ""]
    if grid:
        alt = f"pictures by {steps[0].decision.lora} beside those by the base model"
        source = html.escape(address(grid))
        picture = f'<img src="{source}" alt="{escape_html(alt)}">'
        lines += [picture, ""]
    return lines


def render_scores(qa: Details) -> list[str]:
    """The tests as a small table, with the raw figures of those that do not reach the mark."""
    total = qa.overall or Overall()
    mean = Score(name="overall", score=total.score, low=total.low, high=total.high)
    tests = [*qa.tests[:SHOWN_TESTS], mean]
    whys = [_why(test, total.pass_mark) for test in tests]
    heads = ["", "test", f"score, pass mark {number(total.pass_mark)}", "95 % interval"]
    heads += ["why"] if any(whys) else []
    lines = [_row(heads), "|" + "---|" * len(heads)]
    for test, why in zip(tests, whys, strict=True):
        name = "**overall**" if test is mean else escape(shorten(test.name, 40))
        cells = [_sign(test.score, total.pass_mark), name, f"`{bar(test.score)}`", _ends(test)]
        lines.append(_row(cells + ([why] if any(whys) else [])))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _why(test: Score, mark: float) -> str:
    reached = test.score is not None and test.score >= mark
    return "" if reached else prose(shorten(test.why, MOST_WORDS))


def _sign(score: float | None, mark: float) -> str:
    return "❔" if score is None else "✅" if score >= mark else "🔻"


def _ends(test: Score) -> str:
    return "" if test.score is None else between(test.low, test.high).replace(" ", "&nbsp;")


def _against_released(qa: Details) -> str:
    found = qa.comparison
    if not found:
        return ""
    version = escape(found.released_version) if found.released_version else "the released adapter"
    ends = between(found.low, found.high)
    return (
        f"against {version}, {escape(shorten(found.metric, 40))} **{signed(found.difference)}**"
        + (f" ({ends})" if ends else "")
    )


def _stage_table(steps: Iterable[StepView]) -> list[str]:
    lines = ["| LoRA | stage | result | why |", "|---|---|---|---|"]
    for step in steps:
        word, figures = outcome_text(step)
        told = prose(shorten(figures, MOST_WORDS))
        lines.append(_row((escape(step.decision.lora), str(step.decision.stage), word, told)))
    return lines


def _findings(title: str, findings: Sequence[Finding]) -> list[str]:
    """A folded list, errors first; open if there is an error."""
    found = faults(findings)
    if not found:
        return []
    lines = []
    for fault in found[:SHOWN_FAULTS]:
        hint = f" — {prose(shorten(fault.hint, MOST_WORDS))}" if fault.hint else ""
        message = prose(shorten(fault.message, MOST_WORDS))
        lines.append(f"- {ICONS[fault.severity]} {message}{hint}{_places(fault)}")
    if len(found) > SHOWN_FAULTS:
        lines.append(f"- … and {len(found) - SHOWN_FAULTS} more in the report")
    is_open = found[0].severity is Severity.ERROR
    return _folded(f"{title}: {counted(len(findings), 'finding')}", lines, is_open=is_open)


def _places(fault: Fault) -> str:
    shown = [f"`{code(shorten(place, 120))}`" for place in fault.places[:SHOWN_PLACES]]
    rest = len(fault.places) - len(shown)
    more = f" and {rest} more" if rest else ""
    return f"<br>{', '.join(shown)}{more}" if shown else ""


def _folded(title: str, body: list[str], *, is_open: bool = False) -> list[str]:
    return _folded_html(escape_html(title), body, is_open=is_open)


def _folded_html(summary: str, body: list[str], *, is_open: bool) -> list[str]:
    state = " open" if is_open else ""
    return [f"<details{state}><summary>{summary}</summary>", "", *body, "", "</details>", ""]


def _footer(view: RunView, report_url: str | None) -> list[str]:
    link = f"**[Full report]({address(report_url)})** · " if report_url else ""
    return [
        f"{link}<sub>commit {escape(view.event.head[:7])} · run {escape(view.run_id)}</sub>",
    ]


def _sentence(text: str) -> str:
    text = clean(text)
    return text if text.endswith((".", "…", "!", "?")) else f"{text}."
