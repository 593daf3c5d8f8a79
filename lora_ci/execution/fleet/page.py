"""What a simulation found, for people: lines on a terminal, and a page with charts."""

from __future__ import annotations

from lora_ci.execution.fleet.measured import Measured, Spread
from lora_ci.execution.fleet.scenario import Scenario
from lora_ci.report.charts import Line, line_chart, word_bars
from lora_ci.report.markup import document, pairs, table, text
from lora_ci.report.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def facts_of(scenario: Scenario, measured: Measured) -> list[tuple[str, str]]:
    """Names and values, the most important first."""
    lost = f"{measured.gpu_h_lost:.1f} GPU-h done again after faults"
    given = ", ".join(f"{count} {kind}" for kind, count in measured.faults.items())
    facts = [
        ("GPUs", f"{measured.gpus}, {measured.load:.0%} of their time asked for"),
        ("LoRAs", f"{measured.loras} in {scenario.days:g} days ({scenario.arrivals})"),
        (
            "success",
            f"{measured.success:.2%}: {measured.passed} of {measured.good} with a good dataset; "
            f"{measured.refused} bad ones refused",
        ),
        ("turnaround", spread_text(measured.turnaround)),
        ("utilisation", f"{measured.utilisation:.2%} of what there was work for"),
        ("availability", f"{measured.available:.3%} of {measured.lasted_days:.1f} days"),
        ("GPU time", f"{measured.gpu_h:,.1f} h, of it {lost}"),
        ("faults", given or "none"),
    ]
    if scenario.price:
        whole = measured.gpus * measured.lasted_days * 24 * scenario.price
        facts.insert(7, ("cost", f"{measured.cost:,.2f} for busy GPUs, {whole:,.2f} for all"))
    waits = (
        f"{60 * wait.mean:.1f} min on average, p95 {60 * wait.p95:.1f}, "
        f"at most {60 * wait.most:.1f} ({repo})"
        for repo, wait in measured.wait.items()
    )
    return [*facts, *(("wait for a GPU", wait) for wait in waits)]


def render_lines(scenario: Scenario, measured: Measured) -> str:
    """For a terminal."""
    return "\n".join(f"{name:<15} {value}" for name, value in facts_of(scenario, measured))


def render_page(scenario: Scenario, measured: Measured, tried: tuple[Measured, ...] = ()) -> str:
    """One page that loads nothing from elsewhere; `tried` are other numbers of GPUs."""
    moments = measured.moments
    busy = [
        Line("GPUs that work", "base", [(m.at_h, m.well) for m in moments]),
        Line("busy", "score", [(m.at_h, m.busy) for m in moments]),
    ]
    asked = [
        Line("steps that run or wait for a GPU", "score", [(m.at_h, m.wanted) for m in moments])
    ]
    hours = measured.turnarounds_h
    back = [(hour, 100 * (n + 1) / len(hours)) for n, hour in enumerate(hours)]
    parts = [
        f"<h1>{measured.gpus} GPUs, {scenario.loras_per_day:g} LoRAs a day</h1>",
        _section("What came of it", pairs((n, text(v)) for n, v in facts_of(scenario, measured))),
        _section("GPUs", line_chart(busy, "hours", bottom=0)),
        _section("Demand", line_chart(asked, "hours", bottom=0)),
        _section(
            "Turnaround",
            line_chart([Line("% of LoRAs back", "score", back)], "hours", bottom=0, top=100),
        ),
        _section(
            "Minutes of waiting for a GPU, on average",
            word_bars([(repo, 60 * wait.mean) for repo, wait in measured.wait.items()]),
        ),
    ]
    if len(tried) > 1:
        parts.append(_section("Numbers of GPUs tried", _tried(tried)))
    title = f"lora-ci: a fleet of {measured.gpus} GPUs"
    return document(title, "".join(parts), style=STYLE, policy=POLICY)


def spread_text(spread: Spread) -> str:
    """How a time is spread."""
    return (
        f"{spread.mean:.2f} h on average, p50 {spread.p50:.2f}, p95 {spread.p95:.2f}, "
        f"at most {spread.most:.2f}"
    )


def tried_rows(tried: tuple[Measured, ...]) -> list[tuple[str, ...]]:
    """A row for each number of GPUs."""
    return [
        (
            str(one.gpus),
            f"{one.load:.0%}",
            f"{one.turnaround.mean:.2f}",
            f"{one.turnaround.p95:.2f}",
            f"{one.success:.1%}",
            f"{one.utilisation:.1%}",
        )
        for one in tried
    ]


TRIED = ("GPUs", "load", "average, h", "p95, h", "success", "utilisation")


def _tried(tried: tuple[Measured, ...]) -> str:
    return table(TRIED, tried_rows(tried))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""
