"""The pull-request comment: one screen of markdown, safe against whatever names and texts hold.

From top to bottom: the verdict and its reason; what changed, and what datasets were before; the
table of LoRAs; how new ones were trained; pictures of what is new, scores folded; findings; what a
merge brings; folded: what ran and why; where to ask for more. Addresses of links and pictures come
from the forge alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lora_ci.core.errors import ExitCode, LoraCIError
from lora_ci.core.finding import Finding
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.text import clean
from lora_ci.report.changes import render_changes_markdown
from lora_ci.report.figures import counted, duration, number, shorten
from lora_ci.report.finding_list import render_finding_items, render_findings
from lora_ci.report.findings import findings_of
from lora_ci.report.markdown import address, cut, escape, escape_html, folded, prose, table
from lora_ci.report.outlook import render_outlook
from lora_ci.report.overview import render_overview
from lora_ci.report.reason import VERDICTS, details_of, lora_outcome, lora_reason, reason, verdict
from lora_ci.report.scores import render_grid, render_judgement
from lora_ci.report.sweep_comment import render_sweeps
from lora_ci.report.text import outcome_text
from lora_ci.report.trained import trained_text
from lora_ci.report.trend import render_trends_markdown

MARKER = "<!-- lora-ci -->"
MORE = "more: comment `/lora-ci help`"
SHOWN_SCORES = 4
# Up to so many LoRAs are shown whole: scores of what was known before, pictures of what is new.
FEW = 2
MOST_WORDS = 300


def render_comment(
    view: RunView, report_url: str | None = None, pictures: Mapping[str, str] | None = None
) -> str:
    """The comment of a run, over or not; `pictures` gives the address of each LoRA's grid.

    The verdict is on top and the way to more at the end: cutting keeps both.
    """
    what = "What ran" if view.outcome else "What runs"
    body = [
        *_top(verdict(view), reason(view)),
        *render_changes_markdown(view.plan.changes),
        *render_trends_markdown(view),
        *render_sweeps(view),
        *render_overview(view),
        *_trained(view),
        *_scores(view, pictures or {}),
        *render_findings(_findings_by_lora(view)),
        *folded(f"{what} and why: {counted(len(view.steps), 'stage')}", _stages(view.steps)),
    ]
    end = [*render_outlook(view), _footer(view, report_url), ""]
    return cut("\n".join([*body, ""]), report_url, end="\n".join(end))


def render_check(
    view: RunView, lora: str, report_url: str | None = None, grid_url: str | None = None
) -> str:
    """The text of the check of one LoRA: its scores, stages and findings."""
    steps = view.of(lora)
    body = [prose(_sentence(f"{lora} {lora_reason(view, lora)}")), ""]
    if details_of(steps)[Stage.QA].judged:
        body += render_judgement(steps)
        body += render_grid(lora, grid_url) if grid_url else []
    whole = view.whole(lora)
    body += [*_stages(whole), "", *render_findings({lora: findings_of(whole)})]
    return cut("\n".join([*body, ""]), report_url, end=f"{_footer(view, report_url)}\n")


def render_refusal(error: LoraCIError, head: str) -> str:
    """The comment of a run that never came to a plan: what stands in its way, and what to do."""
    ours = error.exit_code not in (ExitCode.FAILED, ExitCode.USAGE)
    icon = VERDICTS[Outcome.ERROR if ours else Outcome.FAILED].split()[0]
    again = "Nothing says that the change is at fault: `/lora-ci run` tries again."
    body = [
        *_top(f"{icon} could not start", "Nothing ran: this is in the way"),
        *render_finding_items(error.findings),
        "",
        again if ours else "The next push is looked at again.",
        "",
    ]
    end = f"<small>commit {escape(head[:7])} · {MORE}</small>\n"
    return cut("\n".join([*body, ""]), end=end)


def _top(told: str, why: str) -> list[str]:
    return [MARKER, f"### lora-ci: {told}", "", prose(_sentence(why)), ""]


def _trained(view: RunView) -> list[str]:
    """A line for each adapter that was trained in this run, where they are few."""
    lines = []
    for lora in view.loras():
        step = next((s for s in view.of(lora) if s.decision.stage is Stage.TRAIN), None)
        if step is None or step.decision.action is Action.REUSE or lora in _beaten(view):
            continue
        told = trained_text(step.result) if step.result else ""
        if told:
            lines.append(f"- **{escape(shorten(lora, 60))}** trained {escape(told)}")
    return [*lines, ""] if 0 < len(lines) <= SHOWN_SCORES else []


def _scores(view: RunView, grids: Mapping[str, str]) -> list[str]:
    """Scores and pictures of each LoRA that QA judged in this run; of few LoRAs, of each.

    Few new ones show their pictures; those of many would fill more than a screen. Of a matrix only
    the best is shown.
    """
    loras = [lora for lora in view.loras() if lora not in _beaten(view)]
    few = len(loras) <= FEW
    shown = [
        lora
        for lora in loras
        if details_of(view.of(lora))[Stage.QA].judged and (few or _is_news(view, lora))
    ]
    shown.sort(key=lambda lora: lora_outcome(view, lora) is Outcome.PASSED)
    shown.sort(key=lambda lora: not _is_news(view, lora))
    news = [lora for lora in shown if _is_news(view, lora)]
    with_pictures = news if len(news) <= FEW else []
    lines: list[str] = []
    for lora in shown[:SHOWN_SCORES]:
        grid = render_grid(lora, grids[lora]) if lora in grids else []
        apart = grid if lora in with_pictures else []
        told = [*render_judgement(view.of(lora)), *([] if apart else grid)]
        is_open = few and lora_outcome(view, lora) is not Outcome.PASSED
        what = "Scores and pictures" if grid and not apart else "Scores"
        summary = f"{what} of {_summary(view, lora)}"
        lines += [*folded(summary, told, is_open=is_open), *apart]
    if len(shown) > SHOWN_SCORES:
        lines += [f"Scores of {len(shown) - SHOWN_SCORES} more LoRAs are in the report.", ""]
    return lines


def _beaten(view: RunView) -> frozenset[str]:
    """Configurations of a matrix that are not its best, where there is one."""
    return frozenset(
        standing.lora
        for sweep in view.sweeps
        for standing in sweep.standings
        if sweep.best not in (None, standing.lora)
    )


def _is_news(view: RunView, lora: str) -> bool:
    """True if QA ran for this run, or did not pass."""
    qa = next((s for s in view.of(lora) if s.decision.stage is Stage.QA), None)
    if qa is None or qa.result is None:
        return False
    return qa.decision.action is not Action.REUSE or qa.result.outcome is not Outcome.PASSED


def _summary(view: RunView, lora: str) -> str:
    """`mei: 0.89, weakest flexibility 0.83`; HTML."""
    qa = details_of(view.of(lora))[Stage.QA]
    score = number(qa.overall.score) if qa.overall and qa.overall.score is not None else ""
    low = qa.weakest
    weakest = f"weakest {shorten(low.name, 40)} {number(low.score)}" if low else ""
    facts = ", ".join(fact for fact in (score, weakest) if fact)
    return f"<b>{escape_html(shorten(lora, 60))}</b>: {escape_html(facts)}"


def _findings_by_lora(view: RunView) -> dict[str, Sequence[Finding]]:
    """By the name of the LoRA, those of config and inputs first; of a matrix those of its best."""
    told = [lora for lora in view.loras() if lora not in _beaten(view)]
    pairs = [(lora, findings_of(view.whole(lora))) for lora in told]
    return {name: f for name, f in [("config and inputs", view.plan.findings), *pairs] if f}


def _stages(steps: Iterable[StepView]) -> list[str]:
    rows = []
    for step in steps:
        word, figures = outcome_text(step)
        told = prose(shorten(figures, MOST_WORDS))
        rows.append((escape(step.decision.lora), str(step.decision.stage), word, told))
    return table(("LoRA", "stage", "result", "why"), rows) if rows else []


def _footer(view: RunView, report_url: str | None) -> str:
    base, why = view.plan.changes.base, view.plan.changes.range_why
    since = f", compared with {escape(base[:7])}" if base else ""
    since += f" ({prose(shorten(why, 120))})" if base and why else ""
    facts = [
        *([f"commit {escape(view.event.head[:7])}{since}"] if view.event.head else []),
        f"run {escape(view.run_id)}",
        *([duration(view.duration_s).replace(" ", "\u00a0")] if view.outcome else []),
        *([MORE] if view.event.number is not None else []),
    ]
    link = f"**[Full report]({address(report_url)})** · " if report_url else ""
    return f"<small>{link}{' · '.join(facts)}</small>"


def _sentence(text: str) -> str:
    text = clean(text)
    return text if text.endswith((".", "…", "!", "?")) else f"{text}."
