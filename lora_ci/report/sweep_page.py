"""What came of a matrix, as HTML: the best, a chart for each key that was varied, all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lora_ci.automl.asha import BUDGET_KEYS
from lora_ci.core.plan import Plan
from lora_ci.core.sweep import Standing, Sweep
from lora_ci.report.charts import Line, interval_dots, line_chart
from lora_ci.report.details import Interval
from lora_ci.report.figures import duration, plain, shorten
from lora_ci.report.markup import folded, prose, table, text
from lora_ci.report.sweep_text import (
    axis_names,
    axis_values,
    best_text,
    interval_of,
    metric_name,
    score_of,
    value_text,
    verdict_of,
)
from lora_ci.report.text import sharing_summary

MOST_ROWS = 500
MOST_VALUES = 20


def sweep_section(sweep: Sweep, plan: Plan) -> str:
    """The section of one matrix."""
    shared = [found for found in plan.sharing if found.of == sweep.of]
    lines = [f"{sharing_summary(found)}" for found in shared]
    lines += [f"{s.trainings} fewer: {s.rule}" for found in shared for s in found.saved]
    lines += [f"no longer budget continues a shorter one: {s.apart}" for s in shared if s.apart]
    told = "".join(f"<p class='dim'>{prose(line)}</p>" for line in lines)
    parts = [
        f"<h2>{text(sweep.of)}</h2><p>{prose(best_text(sweep))}</p>{told}",
        _by_budget(sweep),
        _by_axes(sweep),
        f"<h3>All configurations</h3>{_table(sweep)}" if sweep.standings else "",
        _change(sweep),
    ]
    return f"<section>{''.join(parts)}</section>"


def _by_budget(sweep: Sweep) -> str:
    """The best and the middle score at each budget."""
    key = next((key for key in BUDGET_KEYS if key in sweep.axes), None)
    if key is None:
        return ""
    pairs = _scores(sweep, key).items()
    found = {float(v): s for v, s in pairs if isinstance(v, int | float)}
    budgets = sorted(found)
    if len(budgets) < 2:
        return ""
    best = min if sweep.lower_is_better else max
    lines = [
        Line("best", "score", [(b, best(found[b])) for b in budgets], dots=True),
        Line("middle", "base", [(b, _middle(found[b])) for b in budgets], dots=True),
    ]
    name = axis_names(sweep)[sweep.axes.index(key)]
    return f"<h3>{text(metric_name(sweep))} by budget</h3>{line_chart(lines, name)}"


def _by_axes(sweep: Sweep) -> str:
    """For each key, by its values: the best score, and how far all with that value range."""
    best = min if sweep.lower_is_better else max
    charts = []
    for key, name in zip(sweep.axes, axis_names(sweep), strict=True):
        rows = [
            (
                shorten(value_text(value), 20),
                "adapter",
                Interval(mean=best(scores), low=min(scores), high=max(scores)),
            )
            for value, scores in list(_scores(sweep, key).items())[:MOST_VALUES]
        ]
        if len(rows) > 1:
            charts.append(f"<div><h3>{text(name)}</h3>{interval_dots(rows)}</div>")
    if not charts:
        return ""
    note = "The dot is the best configuration with that value; the line spans all of them."
    return f'<div class="columns">{"".join(charts)}</div><p class="dim">{note}</p>'


def _scores(sweep: Sweep, key: str) -> Mapping[object, list[float]]:
    """Measured scores by the value of a key, in the order of the values where they have one."""
    found: dict[object, list[float]] = defaultdict(list)
    for standing in sweep.standings:
        if standing.score is not None:
            value = standing.values.get(key)
            hashable = value if isinstance(value, str | int | float) else value_text(value)
            found[hashable].append(standing.score)
    if all(map(_is_number, found)):
        return dict(sorted(found.items(), key=lambda pair: float(str(pair[0]))))
    return dict(sorted(found.items(), key=lambda pair: str(pair[0])))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _middle(scores: Sequence[float]) -> float:
    """The median, of two in the middle the lower one."""
    return sorted(scores)[(len(scores) - 1) // 2]


def _table(sweep: Sweep) -> str:
    heads = (*axis_names(sweep), metric_name(sweep), "95 %", "verdict", "images seen", "time")
    rows = [_row(sweep, standing) for standing in sweep.standings[:MOST_ROWS]]
    return table([text(head) for head in heads], rows)


def _row(sweep: Sweep, standing: Standing) -> tuple[str, ...]:
    score = text(score_of(sweep, standing))
    kind = standing.outcome or "idle"
    return (
        *map(text, axis_values(sweep, standing)),
        f"<b>{score}</b>" if standing.lora == sweep.best else score,
        text(interval_of(standing)),
        f'<span class="chip {kind}">{text(verdict_of(standing))}</span>',
        "" if standing.images_seen is None else plain(standing.images_seen),
        duration(standing.took_s) if standing.took_s else "reused",
    )


def _change(sweep: Sweep) -> str:
    if sweep.suggestion is None:
        why = sweep.unsuggested
        return (
            f'<p class="dim">No change of the config is suggested: {prose(why)}.</p>' if why else ""
        )
    lines = "\n".join(text(line) for line in sweep.suggestion.diff.split("\n"))
    return folded("the change that settles it", f"<pre>{lines}</pre>", is_open=True)
