"""What people chose on the judgements of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from lora_ci.core.run import RunView, VoteCount
from lora_ci.core.step import Stage, StepResult
from lora_ci.core.votes import Choice, Vote

if TYPE_CHECKING:
    from lora_ci.ledger.ledger import Ledger


def with_votes(view: RunView, ledger: Ledger) -> RunView:
    """The view with the votes that the ledger has on its judgements. Raises InfrastructureError."""
    counts = []
    for step in view.steps:
        made = step.decision.fingerprint
        if step.decision.stage is Stage.QA and step.result and made:
            votes = ledger.votes(made.value)
            if votes:
                counts.append(count_votes(votes, step.result))
    return replace(view, votes=tuple(counts))


def count_votes(votes: tuple[Vote, ...], result: StepResult) -> VoteCount:
    """The votes on one judgement, at least one, and how far they agree with it."""
    # Both work on numbers; most runs have no votes and need not load what that takes.
    from lora_ci.qa.agreement import by_pair, with_judge
    from lora_ci.qa.blind import blind_of

    judged = {pair.id: pair.judged for pair in blind_of(result).pairs if pair.judged}
    kappa = with_judge(by_pair(votes), judged)
    said = Counter(vote.choice for vote in votes)
    return VoteCount(
        lora=votes[0].lora,
        fingerprint=votes[0].fingerprint,
        count=len(votes),
        preferred_new=said[Choice.NEW],
        preferred_other=said[Choice.OTHER],
        ties=said[Choice.NONE],
        kappa=kappa.value if kappa else None,
        kappa_low=kappa.low if kappa else None,
        kappa_high=kappa.high if kappa else None,
    )
