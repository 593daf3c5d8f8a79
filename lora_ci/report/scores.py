"""What QA measured of one LoRA, as markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence

from lora_ci.core.run import StepView
from lora_ci.core.step import Stage
from lora_ci.report.checks import Sorted, figure, sort_checks
from lora_ci.report.details import Check, Details, Overall, Score, Window
from lora_ci.report.figures import between, counted, number, plain, shorten, signed
from lora_ci.report.markdown import address, bar, code, escape, escape_html, prose, table
from lora_ci.report.reason import details_of, recommended_weight

SHOWN_TESTS = 10
SHOWN_WAYS = 3
MOST_WORDS = 300


def render_judgement(steps: tuple[StepView, ...]) -> list[str]:
    """What QA, optimize and deploy came to."""
    found = details_of(steps)
    qa = found[Stage.QA]
    lines = [*render_scores(qa), *_settle(qa.settle)]
    facts = [_against_released(qa)]
    weight = recommended_weight(steps)
    if weight is not None:
        facts.append(f"recommended weight **{plain(weight)}**{_window(qa.window)}")
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
    """The five tests as a small table, then what does not reach the mark or is not sound."""
    total = qa.overall or Overall()
    mean = Score(name="overall", score=total.score, low=total.low, high=total.high)
    tests = [*qa.tests[:SHOWN_TESTS], mean]
    mark = total.pass_mark
    heads = ("", "test", f"score, pass&nbsp;mark&nbsp;{number(mark)}", "95&nbsp;%&nbsp;interval")
    rows = [
        (_sign(test.score, mark), _name(test, mean), f"`{bar(test.score)}`", _ends(test))
        for test in tests
    ]
    found = sort_checks(qa.checks)
    # One list: with a line between them, hosts would set their items apart.
    items = [*_whys(qa.tests[:SHOWN_TESTS], mark), *map(_unsound, found.unsound[:SHOWN_TESTS])]
    return [*table(heads, rows), "", *items, *([""] if items else []), *_other_checks(found)]


def _unsound(check: Check) -> str:
    why = f": {prose(shorten(check.why, MOST_WORDS))}" if check.why else ""
    return f"- 🔻 {_short(check.name)} {figure(check)}".rstrip() + why


def _other_checks(found: Sorted) -> list[str]:
    """A line on the further tests that are not told one by one."""
    rest = len(found.unsound) - SHOWN_TESTS
    told = (
        f"{rest} more not sound" if rest > 0 else "",
        f"{counted(len(found.sound), 'further test')} sound" if found.sound else "",
        f"not measured: {_names(found.unknown)}" if found.unknown else "",
        f"turned off: {_names(found.skipped)}" if found.skipped else "",
    )
    line = " · ".join(filter(None, told))
    return [f"<small>{line}</small>", ""] if line else []


def _settle(ways: Sequence[str]) -> list[str]:
    if not ways:
        return []
    items = [f"- {prose(shorten(way, MOST_WORDS))}" for way in ways[:SHOWN_WAYS]]
    return ["**Would settle it:**", "", *items, ""]


def _window(window: Window | None) -> str:
    if window is None or window.low is None or window.high is None or window.low == window.high:
        return ""
    return f" (good from {plain(window.low)} to {plain(window.high)})"


def _names(checks: Sequence[Check]) -> str:
    return ", ".join(_short(check.name) for check in checks[:SHOWN_TESTS])


def _short(name: str) -> str:
    return escape(shorten(name, 40))


def render_grid(lora: str, url: str) -> list[str]:
    """The pictures of a LoRA at the address that the forge gave them."""
    alt = escape_html(f"pictures by {lora} beside those by the base model")
    return [f'<p><img src="{html.escape(address(url))}" alt="{alt}"></p>', ""]


def _name(test: Score, mean: Score) -> str:
    return "**overall**" if test is mean else escape(shorten(test.name, 40))


def _whys(tests: Sequence[Score], mark: float) -> list[str]:
    """The raw figures, below the table: on a phone a column of them would be a word wide."""
    lines = []
    for test in tests:
        if test.why and (test.score is None or test.score < mark):
            name = escape(shorten(test.name, 40))
            why = prose(shorten(test.why, MOST_WORDS))
            lines.append(f"- {_sign(test.score, mark)} {name}: {why}")
    return lines


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
