"""What the adapter does at each weight: one row of pictures with identity drawn above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lora_ci.core.step import StepResult
from lora_ci.report.details import Details, Exhibit, Strength, Window
from lora_ci.report.figures import counted, number, plain, shorten
from lora_ci.report.markup import folded, text
from lora_ci.report.picture import Preview, picture

MOST_WEIGHTS = 12
MOST_ROWS = 8
MOST_WORDS = 300
# The line keeps away from the edges, where half of a dot would be cut off.
TOP, BOTTOM = 8.0, 92.0


def strength_strip(
    qa: Details,
    result: StepResult | None,
    pictures: Mapping[str, Preview],
    recommended: float | None,
) -> str:
    """A column a weight; empty where no weights were tried. `pictures` are previews by sha256."""
    rows = _rows(qa.pictures)
    curve = {point.weight: point for point in qa.curve}
    tried = {weight for row in rows.values() for weight in row} | curve.keys()
    weights = sorted(tried)[:MOST_WEIGHTS]
    if len(weights) < 2 or result is None:
        return ""
    digests = {artifact.name: artifact.sha256 for artifact in result.artifacts}
    drawn = []
    for (prompt, seed), row in list(rows.items())[:MOST_ROWS]:
        figures = []
        for weight in weights:
            exhibit = row.get(weight)
            sha256 = digests.get(exhibit.artifact, "") if exhibit else ""
            alt = f"weight {plain(weight)}: {shorten(prompt, MOST_WORDS)}, seed {seed}"
            figures.append(f"<figure>{picture(pictures.get(sha256), alt)}</figure>")
        drawn.append(_columns("".join(figures), len(weights)))
    heads = "".join(_head(weight, curve.get(weight), qa.window, recommended) for weight in weights)
    prompt = next((shorten(prompt, MOST_WORDS) for prompt, _ in rows), "")
    return (
        f"<h3>Strength</h3><p>{_told(qa.window, recommended)}</p>"
        f'<div class="weights">{_line(weights, curve)}'
        f"{''.join(drawn[:1])}{_columns(heads, len(weights))}</div>"
        f'<p class="keys"><span>{text(prompt)}</span><span class="key"><i class="identity"></i>'
        "identity, from 0 to 1</span></p>"
        f"{folded(counted(len(drawn) - 1, 'more row'), ''.join(drawn[1:]))}"
    )


def _rows(exhibits: Sequence[Exhibit]) -> dict[tuple[str, int | None], dict[float, Exhibit]]:
    """By prompt and seed the pictures by weight, the judged one among them."""
    rows: dict[tuple[str, int | None], dict[float, Exhibit]] = {}
    for exhibit in exhibits:
        if exhibit.kind == "strength" and exhibit.weight is not None:
            rows.setdefault((exhibit.prompt, exhibit.seed), {})[exhibit.weight] = exhibit
    for exhibit in exhibits:
        row = rows.get((exhibit.prompt, exhibit.seed))
        if exhibit.kind == "adapter" and exhibit.weight is not None and row is not None:
            row.setdefault(exhibit.weight, exhibit)
    return rows


def _columns(cells: str, count: int) -> str:
    return f'<div class="steps of-weights" style="--n:{count}">{cells}</div>'


def _line(weights: Sequence[float], curve: Mapping[float, Strength]) -> str:
    """Identity above the columns, from 0 to 1."""
    points = []
    for i, weight in enumerate(weights):
        point = curve.get(weight)
        if point is not None and point.identity is not None:
            share = max(0.0, min(1.0, point.identity))
            points.append((100 * (i + 0.5) / len(weights), BOTTOM - share * (BOTTOM - TOP)))
    if len(points) < 2:
        return ""
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    dots = "".join(
        f'<circle class="identity" cx="{x:.2f}%" cy="{y:.2f}%" r="4"/>' for x, y in points
    )
    return (
        '<svg class="field low" role="img" aria-label="identity by weight, from 0 to 1">'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none">'
        f'<polyline class="identity" points="{path}"/></svg>{dots}</svg>'
    )


def _head(
    weight: float, point: Strength | None, window: Window | None, recommended: float | None
) -> str:
    inside = window is not None and _is_between(window.low, weight, window.high)
    kind = "inside" if inside else "outside"
    marks = f'<span class="chip passed">{"recommended" if weight == recommended else "good"}</span>'
    facts = ""
    if point is not None:
        identity = "" if point.identity is None else f"identity {number(point.identity)}<br>"
        facts = f"{identity}sound {100 * point.clean:.0f} %"
    shown = marks if inside or weight == recommended else ""
    return f'<div class="{kind}"><b>{plain(weight)}</b> {shown}<p class="dim">{facts}</p></div>'


def _is_between(low: float | None, value: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= value <= high


def _told(window: Window | None, recommended: float | None) -> str:
    told = []
    if window is not None:
        if window.low is None or window.high is None:
            told.append("At none of the weights tried is it good.")
        else:
            told.append(f"Good from <b>{plain(window.low)}</b> to <b>{plain(window.high)}</b>.")
    if recommended is not None:
        told.append(f"Recommended: <b>{plain(recommended)}</b>.")
    return " ".join(told)
