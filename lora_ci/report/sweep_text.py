"""What came of a matrix, for the terminal; and the words that its other views share."""

from __future__ import annotations

import json

from lora_ci.core.sweep import Standing, Sweep
from lora_ci.core.text import clean
from lora_ci.report.figures import NOT_MEASURED, between, duration, number, plain, shorten
from lora_ci.report.text import SIGNS, aligned

LONGEST_VALUE = 24
DIGITS = {"loss_last": 4, "validation_loss": 4}


def render_sweep_text(sweep: Sweep) -> str:
    """All configurations, best first; the best; the change that settles the matrix."""
    heads = ("", *axis_names(sweep), metric_name(sweep), "95 %", "verdict", "images seen", "time")
    rows = [
        (
            "→" if standing.lora == sweep.best else "",
            *axis_values(sweep, standing),
            score_of(sweep, standing),
            interval_of(standing),
            verdict_of(standing),
            "" if standing.images_seen is None else plain(standing.images_seen),
            duration(standing.took_s) if standing.took_s else "reused",
        )
        for standing in sweep.standings
    ]
    lines = [*aligned(heads, rows), "", best_text(sweep)]
    if sweep.suggestion:
        lines += ["", *map(clean, sweep.suggestion.diff.split("\n"))]
    elif sweep.unsuggested:
        lines += [clean(f"no change of the config is suggested: {sweep.unsuggested}")]
    return "\n".join(lines)


def best_text(sweep: Sweep) -> str:
    """`best: rank 32, epochs 20 – overall 0.89 (0.86 to 0.92); why`."""
    best = next((s for s in sweep.standings if s.lora == sweep.best), None)
    early = "; stopped early, so that not all went to the end" if sweep.early else ""
    if best is None:
        return clean(f"no best: {sweep.why}{early}")
    ends = interval_of(best)
    score = f"{metric_name(sweep)} {score_of(sweep, best)}{f' ({ends})' if ends else ''}"
    return clean(f"best: {told_values(sweep, best)} – {score}; {sweep.why}{early}")


def told_values(sweep: Sweep, standing: Standing) -> str:
    """`rank 32, epochs 20`."""
    pairs = zip(axis_names(sweep), axis_values(sweep, standing), strict=True)
    return ", ".join(f"{name} {value}" for name, value in pairs)


def axis_names(sweep: Sweep) -> tuple[str, ...]:
    """The keys that the matrix varies, in short where that is clear."""
    ends = [key.rpartition(".")[2] for key in sweep.axes]
    return tuple(
        end if ends.count(end) == 1 else key for key, end in zip(sweep.axes, ends, strict=True)
    )


def axis_values(sweep: Sweep, standing: Standing) -> tuple[str, ...]:
    """The values of a configuration, as text."""
    return tuple(value_text(standing.values.get(key)) for key in sweep.axes)


def value_text(value: object) -> str:
    """`0.0001` as `1e-4`; other values as JSON, text without quotes."""
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shorten(text, LONGEST_VALUE)


def metric_name(sweep: Sweep) -> str:
    """The metric in words."""
    return {"loss_last": "loss", "validation_loss": "validation loss"}.get(
        sweep.metric, sweep.metric
    )


def score_of(sweep: Sweep, standing: Standing) -> str:
    """The score, or that there is none."""
    if standing.score is None:
        return NOT_MEASURED
    return number(standing.score, DIGITS.get(sweep.metric, 2))


def interval_of(standing: Standing) -> str:
    """`0.86 to 0.92`; empty where it is not known."""
    if standing.low is None or standing.high is None:
        return ""
    return between(standing.low, standing.high)


def verdict_of(standing: Standing) -> str:
    """The verdict in a word."""
    return f"{SIGNS[standing.outcome]} {standing.outcome or 'not done'}"
