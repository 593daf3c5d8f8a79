"""What came of a matrix, as markdown: the best, the first ten, the change that settles it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lora_ci.core.plan import Plan
from lora_ci.core.run import RunView
from lora_ci.core.sweep import Standing, Sweep
from lora_ci.core.text import clean
from lora_ci.report.figures import counted, plain
from lora_ci.report.markdown import code, escape, folded, prose, table
from lora_ci.report.sweep_text import (
    axis_names,
    axis_values,
    best_text,
    interval_of,
    metric_name,
    score_of,
)
from lora_ci.report.text import SIGNS, sharing_summary

SHOWN = 10
MOST_DIFF_LINES = 60


def render_sweeps(view: RunView) -> list[str]:
    """A part for each matrix; while it goes on, what it comes to."""
    lines = []
    for found in view.plan.sharing:
        if all(sweep.of != found.of for sweep in view.sweeps):
            lines += [f"**{escape(found.of)}:** {sharing_summary(found)}.", ""]
    return [*lines, *(line for sweep in view.sweeps for line in _sweep(sweep, view.plan))]


def suggestion_words(sweep: Sweep) -> str:
    """The comment at the lines that are to change, with a block that a press applies."""
    lines = [clean(line) for line in sweep.suggestion.lines] if sweep.suggestion else []
    fence = _fence(lines)
    told = f"**lora-ci** · {escape(sweep.of)} · {prose(best_text(sweep))}"
    return "\n".join([told, "", f"{fence}suggestion", *lines, fence])


def _sweep(sweep: Sweep, plan: Plan) -> list[str]:
    told = "; ".join(sharing_summary(found) for found in plan.sharing if found.of == sweep.of)
    more = f" ({told})" if told else ""
    lines = [f"**{escape(sweep.of)}{more}:** {prose(best_text(sweep))}.", ""]
    if sweep.standings:
        lines += [*_table(sweep, sweep.standings[:SHOWN]), ""]
    left = len(sweep.standings) - SHOWN
    if left > 0:
        lines += [f"{counted(left, 'more configuration')} in the report.", ""]
    return [*lines, *_change(sweep)]


def _table(sweep: Sweep, standings: Sequence[Standing]) -> list[str]:
    names = [escape(name).replace(" ", "\u00a0") for name in axis_names(sweep)]
    heads = ("", *names, escape(metric_name(sweep)), "95\u00a0%", "images\u00a0seen")
    rows = []
    for standing in standings:
        values = [f"`{code(value)}`" for value in axis_values(sweep, standing)]
        score = score_of(sweep, standing)
        rows.append(
            (
                SIGNS[standing.outcome],
                *values,
                f"**{score}**" if standing.lora == sweep.best else score,
                interval_of(standing).replace(" ", "\u00a0"),
                "" if standing.images_seen is None else plain(standing.images_seen),
            )
        )
    return table(heads, rows)


def _change(sweep: Sweep) -> list[str]:
    """The diff of the config, folded; or why there is none."""
    if sweep.suggestion is None:
        why = sweep.unsuggested
        return (
            [f"<small>No change of the config is suggested: {prose(why)}.</small>", ""]
            if why
            else []
        )
    lines = [clean(line) for line in sweep.suggestion.diff.split("\n")]
    if len(lines) > MOST_DIFF_LINES:
        lines = [*lines[:MOST_DIFF_LINES], "…"]
    fence = _fence(lines)
    return folded("The change that settles it", [f"{fence}diff", *lines, fence])


def _fence(lines: Sequence[str]) -> str:
    """A fence that none of the lines ends."""
    runs = re.findall(r"`+", "\n".join(lines))
    return "`" * max(3, *(len(run) + 1 for run in runs), 3)
