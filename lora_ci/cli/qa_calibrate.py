"""`lora-ci qa calibrate`: gate values that fit what people said. It changes no config."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.qa_state import add_state_arguments, open_kept
from lora_ci.core.errors import ExitCode
from lora_ci.report.figures import counted
from lora_ci.report.text import aligned

if TYPE_CHECKING:
    from lora_ci.app.opinions import Opinions
    from lora_ci.qa.agreement import Kappa
    from lora_ci.qa.calibration import Shortage, Threshold

# The same votes give the same answer.
SEED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the votes are."""
    add_state_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the thresholds and the lines to paste; exit code 3 where there are too few votes."""
    # They load SQLAlchemy and numpy.
    from lora_ci.app.opinions import gather_opinions
    from lora_ci.qa.agreement import between_voters, with_judge
    from lora_ci.qa.calibration import calibrate, lacking, yaml_lines

    kept = open_kept(args)
    try:
        opinions = gather_opinions(kept.ledger)
    finally:
        kept.ledger.close()
    short = lacking(opinions.runs)
    found = () if short else calibrate(opinions.runs, opinions.gates, Random(SEED))
    lines = yaml_lines(found)
    judge = with_judge(opinions.people, opinions.judge)
    voters = between_voters(opinions.votes)
    text = [
        *opinions_text(opinions),
        *agreement_text(judge, voters),
        *(shortage_text(short) if short else thresholds_text(found, lines)),
    ]
    value = {
        "embedder": opinions.embedder,
        "runs": [
            {
                "fingerprint": one.fingerprint,
                "lora": one.lora,
                "pairs": one.pairs,
                "accepted": one.accepted,
                "share": one.share(),
            }
            for one in opinions.runs
        ],
        "left_out": opinions.left_out,
        "lost": opinions.lost,
        "judge": judge,
        "voters": [{"between": pair, "kappa": kappa} for pair, kappa in voters.items()],
        "lacking": short,
        "thresholds": found,
        "yaml": lines,
    }
    output.result("\n".join(text), value, schema="qa-calibrate")
    return ExitCode.INCONCLUSIVE if short else ExitCode.PASSED


def opinions_text(opinions: Opinions) -> Iterator[str]:
    """How many runs, pairs and votes there are, and what is left out."""
    runs = opinions.runs
    accepted = sum(run.accepted for run in runs)
    pairs = sum(run.pairs for run in runs)
    yield (
        f"{counted(len(runs), 'judgement')} with {counted(len(opinions.votes), 'vote')} on "
        f"{counted(pairs, 'pair')}: people accept {accepted}, not {len(runs) - accepted}"
    )
    open_ = sum(_is_open(run.share().low, run.share().high) for run in runs)
    if open_:
        yield f"  of {open_} that is not sure: the 95 % interval of the share of pairs holds a half"
    compared = (
        f"{count} with {kind} pictures" for kind, count in opinions.against.items() if count
    )
    if runs:
        yield f"  compared: {', '.join(compared)}; embedder {opinions.embedder or 'unknown'}"
    if opinions.left_out:
        yield f"  left out: {opinions.left_out} that another embedder measured"
    if opinions.lost:
        yield f"  left out: {opinions.lost} that are not on record any more"


def _is_open(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low < 0.5 <= high


def agreement_text(
    judge: Kappa | None, voters: dict[tuple[str, str], Kappa | None]
) -> Iterator[str]:
    """People and judge, and every two people."""
    if judge:
        yield f"people and judge: {kappa_text(judge)}"
    for (one, other), kappa in voters.items():
        yield f"{one} and {other}: {kappa_text(kappa) if kappa else 'kappa is not defined'}"


def kappa_text(kappa: Kappa) -> str:
    """A kappa in words."""
    ends = "interval unknown"
    if kappa.low is not None and kappa.high is not None:
        ends = f"{kappa.low:.2f} to {kappa.high:.2f}"
    return f"kappa {kappa.value:.2f} ({ends}), the same on {kappa.agreed:.0%} of {kappa.n} pairs"


def shortage_text(short: Shortage) -> Iterator[str]:
    """What is to be voted on before gates can be suggested."""
    from lora_ci.qa.calibration import MIN_PAIRS

    needs = [
        f"{count} more {words}"
        for count, words in (
            (short.runs, "in all"),
            (short.accepted, "that people accept"),
            (short.refused, "that people do not accept"),
        )
        if count
    ]
    yield (
        f"too few to suggest gates. Of judgements with votes on at least {MIN_PAIRS} pairs there "
        f"have to be {', '.join(needs)}"
    )
    yield "next: lora-ci qa review LORA --run ID, of runs that failed too; lora-ci status has them"


def thresholds_text(found: Sequence[Threshold], lines: Sequence[str]) -> Iterator[str]:
    """A line a metric, and what to paste."""
    yield ""
    heads = ("metric", "gate now", "suggested", "95 %", "keeps", "stops", "unseen", "luck")
    yield from aligned(heads, [*map(_row, found)])
    yield ""
    if not lines:
        yield "no metric separates what people accept better than luck might: keep the gates"
    elif all(t.value == t.present for t in found if t.sound):
        yield "the gates fit already: nothing to change"
    else:
        yield "to paste into .lora-ci.yml, if you agree:"
        yield from lines


def _row(found: Threshold) -> tuple[str, ...]:
    ends = f"{found.low:.2f} to {found.high:.2f}" if found.low is not None else "unknown"
    return (
        found.metric,
        "none" if found.present is None else f"{found.sign} {found.present:g}",
        found.condition if found.sound else "—",
        ends if found.sound else "—",
        f"{found.kept:.0%}",
        f"{found.stopped:.0%}",
        "—" if found.unseen is None else f"{found.unseen:.0%}",
        f"{found.luck:.3f}",
    )
