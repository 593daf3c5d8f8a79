"""The best of some configurations, and why it is that."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_ci.core.step import Outcome
from lora_ci.core.sweep import Standing


def ranked(standings: Sequence[Standing], *, lower_is_better: bool) -> tuple[Standing, ...]:
    """Best first: those that passed before the others, what was not measured last.

    Of equal scores the one that sees fewer images is better; of equal costs the first given.
    """

    def key(standing: Standing) -> tuple[bool, bool, float, float]:
        score = standing.score
        if score is None:
            return True, standing.outcome is not Outcome.PASSED, 0.0, 0.0
        seen = math.inf if standing.images_seen is None else standing.images_seen
        return (
            False,
            standing.outcome is not Outcome.PASSED,
            score if lower_is_better else -score,
            seen,
        )

    return tuple(sorted(standings, key=key))


def choose(standings: Sequence[Standing]) -> tuple[Standing | None, str]:
    """The first of ranked standings if it is any good, and why it is chosen.

    One that did not pass is chosen only where none did, and the reason says so. What could not be
    measured is never chosen: it is no zero.
    """
    measured = [s for s in standings if s.score is not None]
    if not measured:
        return None, f"none of {len(standings)} configurations could be measured"
    best = measured[0]
    if best.outcome is not Outcome.PASSED:
        return best, f"none of {len(standings)} passed; this one comes nearest"
    passed = [s for s in measured if s.outcome is Outcome.PASSED]
    why = f"the best of {len(passed)} that passed, of {len(standings)}"
    equal = sum(s.score == best.score for s in passed) - 1
    if equal:
        why += f"; {equal} more score the same and see no fewer images"
    near = sum(_overlap(best, s) for s in passed[1:]) - equal
    if near > 0:
        why += f"; {near} more may be as good: their intervals overlap"
    unmeasured = len(standings) - len(measured)
    return best, why + (f"; {unmeasured} could not be measured" if unmeasured else "")


def _overlap(one: Standing, other: Standing) -> bool:
    """True if neither is surely better; False where an interval is not known."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return one.score == other.score
    return one.low <= other.high and other.low <= one.high
