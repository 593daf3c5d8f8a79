"""What QA measured of one LoRA, as markdown."""

from __future__ import annotations

import html

from lora_ci.core.run import StepView
from lora_ci.core.step import Stage
from lora_ci.report.details import Details, Overall, Score
from lora_ci.report.figures import between, number, plain, shorten, signed
from lora_ci.report.markdown import address, bar, code, escape, escape_html, prose, table
from lora_ci.report.reason import details_of, recommended_weight

SHOWN_TESTS = 10
MOST_WORDS = 300


def render_judgement(steps: tuple[StepView, ...]) -> list[str]:
    """What QA, optimize and deploy came to."""
    found = details_of(steps)
    lines = [*render_scores(found[Stage.QA]), ""]
    facts = [_against_released(found[Stage.QA])]
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
    return lines


def render_scores(qa: Details) -> list[str]:
    """The tests as a small table, with the raw figures of those that do not reach the mark."""
    total = qa.overall or Overall()
    mean = Score(name="overall", score=total.score, low=total.low, high=total.high)
    tests = [*qa.tests[:SHOWN_TESTS], mean]
    whys = [_why(test, total.pass_mark) for test in tests]
    heads = ["", "test", f"score, pass mark {number(total.pass_mark)}", "95 % interval"]
    heads += ["why"] if any(whys) else []
    rows = []
    for test, why in zip(tests, whys, strict=True):
        name = "**overall**" if test is mean else escape(shorten(test.name, 40))
        cells = [_sign(test.score, total.pass_mark), name, f"`{bar(test.score)}`", _ends(test)]
        rows.append(cells + ([why] if any(whys) else []))
    return table(heads, rows)


def render_grid(lora: str, url: str) -> list[str]:
    """The pictures of a LoRA at the address that the forge gave them."""
    alt = escape_html(f"pictures by {lora} beside those by the base model")
    return [f'<img src="{html.escape(address(url))}" alt="{alt}">', ""]


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
