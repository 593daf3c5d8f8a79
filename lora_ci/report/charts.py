"""Charts of inline SVG; their words are HTML around it, so that they stay readable on a phone.

Coordinates are percentages: the picture takes the width it is given, lines keep their thickness.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lora_ci.report.details import Interval, Overall, Score
from lora_ci.report.figures import between, number, plain, signed
from lora_ci.report.markup import prose, text

MOST_POINTS = 400
MOST_COLUMNS = 40
TINY = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points; `kind` is its class in the style sheet."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


def score_bars(scores: Sequence[Score], mean: Score, mark: float) -> str:
    """A bar from 0 to 1 a score, its interval as a whisker, and the mark to reach."""
    rows = []
    for score in (*scores, mean):
        value = score.score
        ends = between(score.low, score.high) if value is not None else ""
        drawing = _bar(value, score.low, score.high, mark)
        kind = _kind(value, mark) + (" total" if score is mean else "")
        row = _row(
            text(score.name), drawing, number(value), ends=ends, why=prose(score.why), kind=kind
        )
        rows.append(row)
    ends_of_scale = "<span>0</span><span>1</span>"
    key = f'<span class="key"><i class="mark"></i>pass mark {number(mark)}</span>'
    key += '<span class="key"><i class="whisker"></i>95 % interval</span>'
    return (
        f'<div class="chart">{"".join(rows)}<div class="scale">{ends_of_scale}</div></div>'
        f'<p class="keys">{key}</p>'
    )


def score_bar(total: Overall) -> str:
    """The overall score as one bar."""
    drawing = _bar(total.score, total.low, total.high, total.pass_mark)
    return f'<svg role="img" aria-label="{number(total.score)}">{drawing}</svg>'


def interval_dots(rows: Sequence[tuple[str, str, Interval]], *, around: float | None = None) -> str:
    """(name, kind, interval) below each other on one scale, with a line at `around`."""
    known = [
        value for _, _, i in rows for value in (i.mean, i.low, i.high, around) if value is not None
    ]
    if not known:
        return ""
    pad = (max(known) - min(known)) * 0.08 or 0.05
    left, right = min(known) - pad, max(known) + pad

    def place(value: float | None) -> float | None:
        return None if value is None else (value - left) / (right - left)

    drawn = []
    for name, kind, found in rows:
        parts = ['<line class="rail" x1="0" x2="100%" y1="13" y2="13"/>']
        if around is not None:
            parts.append(_upright("mark", place(around) or 0.0))
        parts.append(_whisker(place(found.low), place(found.high)))
        parts.append(f'<circle class="{kind}" cx="{_percent(place(found.mean))}" cy="13" r="5"/>')
        count = f"{found.n} prompts" if found.n is not None else ""
        ends = between(found.low, found.high)
        drawing = "".join(parts)
        value = number(found.mean) if around is None else signed(found.mean)
        drawn.append(_row(text(name), drawing, value, ends=ends, why=count, kind=kind))
    scale = f"<span>{number(left)}</span><span>{number(right)}</span>"
    return f'<div class="chart">{"".join(drawn)}<div class="scale">{scale}</div></div>'


def line_chart(
    lines: Sequence[Line],
    x_name: str,
    *,
    bottom: float | None = None,
    top: float | None = None,
    at: tuple[str, float] | None = None,
) -> str:
    """Lines over one axis, from `bottom` to `top` at least, and an upright named line `at` an x."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    left, right = min(xs), max(xs)
    low = min(ys) if bottom is None else min(bottom, *ys)
    high = max(ys) if top is None else max(top, *ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        return across, 1 - (y - low) / ((high - low) or 1)

    paths, dots = [], []
    for line in lines:
        spots = [place(x, y) for x, y in thin(line.points)]
        path = " ".join(f"{100 * x:.2f},{100 * y:.2f}" for x, y in spots)
        paths.append(f'<polyline class="{line.kind}" points="{path}"/>')
        if line.dots:
            dots += [
                f'<circle class="{line.kind}" cx="{_percent(x)}" cy="{_percent(y)}" r="4"/>'
                for x, y in spots
            ]
    keys = [f'<span class="key"><i class="{li.kind}"></i>{text(li.name)}</span>' for li in lines]
    upright = ""
    if at is not None and left <= at[1] <= right:
        across = _percent(place(at[1], low)[0])
        upright = f'<line class="mark" x1="{across}" x2="{across}" y1="0" y2="100%"/>'
        keys.append(f'<span class="key"><i class="mark"></i>{text(at[0])}</span>')
    label = text(", ".join(line.name for line in lines))
    # Learning rates would all be 0.00.
    ends = [number(y) if max(abs(low), abs(high)) >= TINY else f"{y:.2g}" for y in (low, high)]
    drawing = f"{_stretched(''.join(paths))}{upright}{''.join(dots)}"
    plot = _plot(ends, (left, right), x_name, label, drawing)
    return f'{plot}<p class="keys">{"".join(keys)}</p>'


def histogram(
    values: Sequence[float],
    x_name: str,
    *,
    left: float | None = None,
    right: float | None = None,
    at: tuple[str, float] | None = None,
) -> str:
    """How many values there are from each step to the next, and an upright named line `at` an x.

    Steps are equal, and whole numbers where all values are. The axis is from `left` to `right` at
    least.
    """
    if not values:
        return ""
    low = min(values) if left is None else min(left, *values)
    high = max(values) if right is None else max(right, *values)
    whole = all(value == value // 1 for value in (*values, low, high))
    if whole:
        # Each whole number has its place, else some columns would stand for more of them.
        step = float(max(1, math.ceil((high - low + 1) / MOST_COLUMNS)))
        columns = math.ceil((high - low + 1) / step)
    else:
        step, columns = (high - low) / MOST_COLUMNS or 1.0, MOST_COLUMNS
    counts = Counter(min(columns - 1, int((value - low) / step)) for value in values)
    most, width, end = max(counts.values()), 100 / columns, low + step * columns
    drawn = "".join(
        f'<rect class="plain" x="{width * i:.2f}" width="{0.9 * width:.2f}" '
        f'y="{100 - 100 * count / most:.2f}" height="{100 * count / most:.2f}">'
        f"<title>{_from_to(low + step * i, low + step * (i + 1) - whole)}: {count:,}</title></rect>"
        for i, count in sorted(counts.items())
    )
    upright = keys = ""
    if at is not None and low <= at[1] <= end:
        upright = _upright("mark", (at[1] - low) / (end - low))
        keys = f'<p class="keys"><span class="key"><i class="mark"></i>{text(at[0])}</span></p>'
    label = f"{text(x_name)}: {len(values):,}, {_from_to(min(values), max(values))}"
    drawing = f"{_stretched(drawn)}{upright}"
    return _plot(("0", f"{most:,}"), (low, end - whole), x_name, label, drawing) + keys


def _from_to(low: float, high: float) -> str:
    return plain(low) if low == high else f"{plain(low)} to {plain(high)}"


def _stretched(shapes: str) -> str:
    """Shapes on a field of 100 × 100 that takes the width and height it is given."""
    return f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{shapes}</svg>'


def _plot(y: Sequence[str], x: tuple[float, float], x_name: str, label: str, drawing: str) -> str:
    """A drawing between two axes, each with its ends."""
    return (
        f'<div class="plot"><div class="up"><span>{y[1]}</span><span>{y[0]}</span>'
        f'</div><svg class="field" role="img" aria-label="{label}">{drawing}</svg>'
        f'<div class="scale"><span>{plain(x[0])}</span><span class="name">{text(x_name)}</span>'
        f"<span>{plain(x[1])}</span></div></div>"
    )


def word_bars(bars: Sequence[tuple[str, float]]) -> str:
    """Names with bars as long as their values, the greatest filling the width."""
    most = max((value for _, value in bars), default=0) or 1
    rows = [
        _row(
            text(name),
            f'<rect class="plain" y="7" width="{_percent(value / most)}" height="12" rx="3"/>',
            plain(value),
        )
        for name, value in bars
    ]
    return f'<div class="chart words">{"".join(rows)}</div>' if rows else ""


def thin(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most `MOST_POINTS` of them, evenly taken, the last one kept."""
    step = -(-len(points) // MOST_POINTS)
    kept = points[::step] if step > 1 else points
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _kind(score: float | None, mark: float) -> str:
    return "none" if score is None else "good" if score >= mark else "weak"


def _bar(score: float | None, low: float | None, high: float | None, mark: float) -> str:
    parts = ['<rect class="track" y="7" width="100%" height="12" rx="3"/>']
    if score is not None:
        kind, width = _kind(score, mark), _percent(score)
        parts.append(f'<rect class="{kind}" y="7" width="{width}" height="12" rx="3"/>')
        parts.append(_whisker(_share(low), _share(high)))
    return "".join([*parts, _upright("mark", mark)])


def _row(
    name: str, drawing: str, value: str, *, ends: str = "", why: str = "", kind: str = "plain"
) -> str:
    label = f"{name} {value}" + (f", {ends}" if ends else "")
    why = f'<p class="why">{why}</p>' if why else ""
    return (
        f'<div class="row {kind}"><span class="name">{name}</span>'
        f'<svg role="img" aria-label="{label}">{drawing}</svg>'
        f'<span class="value">{value}</span><span class="ends">{ends}</span>{why}</div>'
    )


def _whisker(low: float | None, high: float | None) -> str:
    """A line with caps between two shares of the width; nothing if an end is not known."""
    if low is None or high is None or low == high:
        return ""
    ends = "".join(
        f'<line x1="{_percent(x)}" x2="{_percent(x)}" y1="9" y2="17"/>' for x in (low, high)
    )
    return (
        f'<g class="whisker"><line x1="{_percent(low)}" x2="{_percent(high)}" y1="13" y2="13"/>'
        f"{ends}</g>"
    )


def _upright(kind: str, share: float) -> str:
    return f'<line class="{kind}" x1="{_percent(share)}" x2="{_percent(share)}" y1="0" y2="100%"/>'


def _share(value: float | None) -> float | None:
    return None if value is None else max(0.0, min(1.0, value))


def _percent(share: float | None) -> str:
    return f"{100 * max(0.0, min(1.0, share or 0.0)):.2f}%"
