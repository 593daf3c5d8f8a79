"""What QA measured, as HTML: five bars, further tests, gates, likeness, what changed, people."""

from __future__ import annotations

from collections.abc import Sequence

from lora_ci.core.run import VoteCount
from lora_ci.core.step import Outcome
from lora_ci.report.charts import interval_dots, score_bars
from lora_ci.report.checks import documentation, figure, sort_checks, standing, stopping
from lora_ci.report.details import (
    Check,
    Comparison,
    Details,
    Gate,
    Interval,
    Overall,
    Sampler,
    Score,
)
from lora_ci.report.figures import between, counted, number, plain, shorten
from lora_ci.report.markup import facts, prose, table, text

MOST_TESTS = 20
MOST_GATES = 50
MOST_CHECKS = 50
MOST_WAYS = 10
MOST_WORDS = 500
MOST_NAME = 100
KINDS = {"✓": "passed", "✗": "failed", "?": "inconclusive", "–": "idle"}
ORDER = (Outcome.FAILED, Outcome.INCONCLUSIVE)
WORDS = {Outcome.PASSED: "holds", Outcome.FAILED: "fails", Outcome.INCONCLUSIVE: "not sure"}


def judgement(qa: Details, outcome: Outcome, votes: Sequence[VoteCount] = ()) -> str:
    """All that QA says in figures; empty if it did not come so far."""
    if not qa.judged:
        return ""
    total = qa.overall or Overall()
    mean = Score(name="overall", score=total.score, low=total.low, high=total.high)
    bars = score_bars([_cut(test) for test in qa.tests[:MOST_TESTS]], mean, total.pass_mark)
    return "".join(
        (
            _settle(qa.settle),
            f"<h3>Five tests</h3>{bars}",
            f'<p class="dim">{text(stopping(qa, outcome))}</p>' if qa.looks else "",
            _checks(qa.checks),
            _gates(qa.gates),
            _side_by_side(qa),
            _people(votes),
        )
    )


def how_it_was_measured(qa: Details) -> str:
    """Sampler, embedder and ruler: what must be alike before results are compared."""
    sampler = qa.sampler
    measured = [
        ("embedder", f"<code>{_short(qa.embedder)}</code>" if qa.embedder else ""),
        ("its license", _short(qa.embedder_license) if qa.embedder_license else ""),
        ("adapter weight", number(qa.weight) if qa.weight is not None else ""),
        ("seeds a prompt", f"{qa.seeds}" if qa.seeds is not None else ""),
        ("trigger", f"<code>{_short(qa.trigger)}</code>" if qa.trigger else ""),
        ("sampler", _sampler(sampler) if sampler else ""),
        (
            "negative prompt",
            text(shorten(sampler.negative_prompt, MOST_WORDS)) if sampler else "",
        ),
        ("ruler", f"<code>{_short(qa.ruler)}</code>" if qa.ruler else ""),
    ]
    body = facts((name, value) for name, value in measured if value)
    return f"<h3>How it was measured</h3>{body}" if body else ""


def _sampler(found: Sampler) -> str:
    told = f"{counted(found.steps, 'step')}, guidance {plain(found.guidance)}"
    told += f" rescaled by {plain(found.rescale)}" if found.rescale else ""
    told += f", {found.resolution} pixels"
    return told + (f", {_short(found.precision)}" if found.precision else "")


def _settle(ways: tuple[str, ...]) -> str:
    items = "".join(f"<li>{prose(shorten(way, MOST_WORDS))}</li>" for way in ways[:MOST_WAYS])
    return f"<h3>What would settle it</h3><ul>{items}</ul>" if items else ""


def _checks(checks: tuple[Check, ...]) -> str:
    rows = []
    for check in sort_checks(checks).worst_first[:MOST_CHECKS]:
        sign, word = standing(check)
        kind = KINDS[sign]
        named = check.metric not in ("", check.name)
        metric = f' <span class="dim">{_short(check.metric)}</span>' if named else ""
        page = documentation(check)
        more = f' <span class="dim one">{page}</span>' if page else ""
        rows.append(
            (
                f"{_short(check.name)}{metric}",
                f'<span class="one">{shown}</span>' if (shown := figure(check)) else "",
                f'<span class="chip {kind}">{sign} {word}</span>',
                prose(shorten(check.why, MOST_WORDS)) + more,
            )
        )
    heads = ("test", "figure", "result", "why")
    return f"<h3>Further tests</h3>{table(heads, rows)}" if rows else ""


def _people(votes: Sequence[VoteCount]) -> str:
    """How people chose, blind, and whether the judge would have chosen the same."""
    rows = [
        (
            counted(vote.count, "vote"),
            f"{vote.preferred_new} new, {vote.preferred_other} other, {vote.ties} no difference",
            _agreement(vote),
        )
        for vote in votes[:MOST_CHECKS]
    ]
    heads = ("blind", "preferred", "agreement with the judge (Cohen's κ)")
    return f"<h3>People</h3>{table(heads, rows)}" if rows else ""


def _agreement(vote: VoteCount) -> str:
    if vote.kappa is None:
        return "not known"
    ends = between(vote.kappa_low, vote.kappa_high)
    return number(vote.kappa) + (f" ({ends})" if ends else "")


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
    worst_first = sorted(gates, key=lambda gate: [gate.outcome is not bad for bad in ORDER])
    for gate in worst_first[:MOST_GATES]:
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


def _short(words: str) -> str:
    return text(shorten(words, MOST_NAME))
