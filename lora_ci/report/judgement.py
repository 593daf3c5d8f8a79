"""What QA measured, as HTML: five bars, likeness, what changed, gates."""

from __future__ import annotations

from lora_ci.core.step import Outcome
from lora_ci.report.charts import interval_dots, score_bars
from lora_ci.report.details import Comparison, Details, Gate, Interval, Overall, Score
from lora_ci.report.figures import between, counted, number, shorten
from lora_ci.report.markup import facts, prose, table, text

MOST_TESTS = 20
MOST_GATES = 50
MOST_WORDS = 500
WORDS = {Outcome.PASSED: "holds", Outcome.FAILED: "fails", Outcome.INCONCLUSIVE: "not sure"}


def judgement(qa: Details) -> str:
    """All that QA says in figures; empty if it did not come so far."""
    if not qa.judged:
        return ""
    total = qa.overall or Overall()
    mean = Score(name="overall", score=total.score, low=total.low, high=total.high)
    bars = score_bars([_cut(test) for test in qa.tests[:MOST_TESTS]], mean, total.pass_mark)
    parts = [f"<h3>Five tests</h3>{bars}", _gates(qa.gates), _side_by_side(qa)]
    measured = [
        ("embedder", f"<code>{text(qa.embedder)}</code>" if qa.embedder else ""),
        ("adapter weight", number(qa.weight) if qa.weight is not None else ""),
        ("seeds a prompt", f"{qa.seeds}" if qa.seeds is not None else ""),
        ("ruler", f"<code>{text(qa.ruler[:16])}</code>" if qa.ruler else ""),
    ]
    parts.append(facts((name, value) for name, value in measured if value))
    return "".join(parts)


def _side_by_side(qa: Details) -> str:
    parts = [_similarity(qa), _comparison(qa.comparison) if qa.comparison else ""]
    return f'<div class="columns">{"".join(part for part in parts if part)}</div>'


def _similarity(qa: Details) -> str:
    if not qa.similarity:
        return ""
    found = qa.similarity
    rows: list[tuple[str, str, Interval]] = [
        (name, kind, value)
        for name, kind, value in (
            ("base", "base", found.base),
            ("new adapter", "adapter", found.adapter),
            ("references", "reference", found.references),
        )
        if value
    ]
    note = "The base model starts on the left; real pictures among themselves are the aim."
    return (
        f"<div><h3>Likeness to the references</h3>{interval_dots(rows)}"
        f'<p class="dim">{note}</p></div>'
    )


def _comparison(found: Comparison) -> str:
    version = (
        f"the released {text(shorten(found.released_version, 40))}"
        if found.released_version
        else "the released adapter"
    )
    difference = Interval(mean=found.difference, low=found.low, high=found.high)
    chart = interval_dots([(shorten(found.metric, 40), "adapter", difference)], around=0.0)
    surely = found.low is not None and found.high is not None and found.low * found.high > 0
    word = (
        ("surely more" if found.difference > 0 else "surely less") if surely else "no sure change"
    )
    count = f"{counted(found.pairs, 'pair')} of prompts" if found.pairs is not None else ""
    why = prose(shorten(found.why, MOST_WORDS)) or count
    return (
        f"<div><h3>Against {version}</h3>{chart}"
        f'<p class="dim"><b>{word}</b>{": " if why else ""}{why}</p></div>'
    )


def _gates(gates: tuple[Gate, ...]) -> str:
    if not gates:
        return ""
    rows = []
    for gate in gates[:MOST_GATES]:
        ends = between(gate.low, gate.high)
        value = number(gate.value) + (f' <span class="dim one">{ends}</span>' if ends else "")
        word = f'<span class="chip {gate.outcome}">{WORDS.get(gate.outcome, gate.outcome)}</span>'
        condition = f'<b class="one">{text(shorten(gate.condition, 24))}</b>'
        name = f"{text(shorten(gate.metric, 80))} {condition}"
        rows.append((name, value, word, prose(shorten(gate.why, MOST_WORDS))))
    more = len(gates) - MOST_GATES
    note = f'<p class="dim">… and {counted(more, "more gate")}</p>' if more > 0 else ""
    return f"<h3>Gates</h3>{table(('gate', 'value', 'result', 'why'), rows)}{note}"


def _cut(test: Score) -> Score:
    return Score(
        name=shorten(test.name, 40),
        score=test.score,
        low=test.low,
        high=test.high,
        why=shorten(test.why, MOST_WORDS),
    )
