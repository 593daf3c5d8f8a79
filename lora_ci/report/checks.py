"""The tests beside the five, and at how many pictures was looked, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_ci.core.step import Outcome
from lora_ci.report.details import Check, Details
from lora_ci.report.figures import between, counted, number

# Pages below docs/qa/ of the project.
DOCUMENTED = frozenset(
    (
        *("identity", "flexibility", "artifact", "consistency", "performance"),
        *("leakage", "strength", "memorization", "composability", "regression", "following"),
        *("loss-gap", "safety", "base-look", "variety"),
    )
)
MOST_LOOKS = 20
SURE = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.INCONCLUSIVE: "not sure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Tests by how they stand."""

    unsound: tuple[Check, ...]
    unknown: tuple[Check, ...]
    sound: tuple[Check, ...]
    skipped: tuple[Check, ...]

    @property
    def worst_first(self) -> tuple[Check, ...]:
        return (*self.unsound, *self.unknown, *self.sound, *self.skipped)


def sort_checks(checks: Sequence[Check]) -> Sorted:
    """What is not sound, what was not measured, what is sound, what the config turned off."""
    made = [check for check in checks if not check.skipped]
    return Sorted(
        unsound=tuple(c for c in made if c.sound is False),
        unknown=tuple(c for c in made if c.sound is None),
        sound=tuple(c for c in made if c.sound),
        skipped=tuple(c for c in checks if c.skipped),
    )


def standing(check: Check) -> tuple[str, str]:
    """How a test came out: a sign and words."""
    if check.skipped:
        return "–", "turned off"
    if check.sound is None:
        return "?", "not measured" if check.value is None else "not sure"
    return ("✓", "sound") if check.sound else ("✗", "not sound")


def figure(check: Check) -> str:
    """`0.31 (0.24 to 0.38)`; empty where there is none."""
    if check.value is None:
        return ""
    ends = between(check.low, check.high)
    return number(check.value) + (f" ({ends})" if ends else "")


def documentation(check: Check) -> str:
    """The page that explains a test; empty for one that is not ours."""
    return f"docs/qa/{check.name}.md" if check.name in DOCUMENTED else ""


def stopping(qa: Details, outcome: Outcome) -> str:
    """`Stopped after 2 of 4 seeds a prompt: sure enough; the chance that luck passed it is …`."""
    if not qa.looks:
        return ""
    used = qa.looks[-1].seeds
    most = max(used, qa.most_seeds or 0)
    of_most = f"{used} of {counted(most, 'seed')}" if used < most else counted(used, "seed")
    seeds = f"{of_most} a prompt"
    sure = outcome in (Outcome.PASSED, Outcome.FAILED)
    told = f"Stopped after {seeds}: sure enough" if sure else f"Not sure after {seeds}"
    if qa.error is not None:
        luck = f"luck {outcome} it" if sure else "luck would have passed it"
        told += f"; the chance that {luck} is at most {_percent(qa.error)}"
    looks = ", ".join(
        f"{counted(look.seeds, 'seed')} {SURE.get(look.outcome, look.outcome)} "
        f"(error allowed: {_percent(look.error)})"
        for look in qa.looks[:MOST_LOOKS]
    )
    return f"{told}. Looks: {looks}."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
