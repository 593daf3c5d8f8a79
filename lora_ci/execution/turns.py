"""Which waiting steps come next, and where they may run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_ci.core.step import Stage
from lora_ci.execution.executor import Place
from lora_ci.ledger.queue import OpenAttempt, Waiting

# A person waits for it; the clock asked for it; one of the many of a search.
INTERACTIVE, SCHEDULED, SEARCH = 2, 1, 0

STAGES = tuple(Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A step to begin now, and its place."""

    waiting: Waiting
    place: Place


class Placement(Protocol):
    """Chooses what to begin, and what has to go for it."""

    def choose(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
    ) -> Iterator[Choice]:
        """What there is room for, in turn; `used_gpu_s` is what repositories had lately."""
        ...

    def preempt(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
        asked: Collection[str] = (),
    ) -> tuple[str, ...]:
        """The keys of attempts that are to save and wait again, besides those asked already."""
        ...

    def misfit(self, one: Waiting) -> str | None:
        """Why there never will be a place for a step; None if there may be."""
        ...


@dataclass(frozen=True, slots=True)
class Anywhere:
    """All of them, wherever the executor puts them."""

    def choose(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
    ) -> Iterator[Choice]:
        for turn in in_turn(waiting, running, used_gpu_s):
            yield Choice(waiting=turn, place=Place())

    def preempt(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
        asked: Collection[str] = (),
    ) -> tuple[str, ...]:
        """None: who waits, waits."""
        return ()

    def misfit(self, one: Waiting) -> str | None:
        """The executor knows."""
        return None


def in_turn(
    waiting: Sequence[Waiting], running: Sequence[OpenAttempt], used_gpu_s: Mapping[str, float]
) -> Iterator[Waiting]:
    """Higher priority first; within one the repository that runs and had least.

    Of one repository the later stage comes first: what has begun ends before more begins, which
    halves the time to a result where there is a queue. Then the oldest. Each that is taken counts
    at once, so that equal repositories take turns.
    """
    runs = Counter(attempt.repo for attempt in running)
    by_turn: dict[int, dict[str, list[Waiting]]] = {}
    for one in sorted(waiting, key=_turn, reverse=True):
        by_turn.setdefault(one.priority, {}).setdefault(one.repo, []).append(one)
    for priority in sorted(by_turn, reverse=True):
        repos = by_turn[priority]
        while repos:
            repo = min(repos, key=lambda r: (runs[r], used_gpu_s.get(r, 0.0), r))
            yield repos[repo].pop()
            runs[repo] += 1
            if not repos[repo]:
                del repos[repo]


def within_quota(
    waiting: Sequence[Waiting], running: Sequence[OpenAttempt], quota: int | None
) -> Sequence[Waiting]:
    """Without the steps that would give their repository more GPUs than `quota` (None: no limit).

    One that does not fit yet is not overtaken by later ones of its repository that take GPUs.
    """
    if quota is None:
        return waiting
    taken = Counter[str]()
    for attempt in running:
        taken[attempt.repo] += attempt.gpus
    allowed, full = [], set[str]()
    for one in sorted(waiting, key=lambda one: (-one.priority, *_turn(one))):
        if one.gpus and (one.repo in full or taken[one.repo] + one.gpus > quota):
            full.add(one.repo)
        else:
            taken[one.repo] += one.gpus
            allowed.append(one)
    return allowed


def _turn(one: Waiting) -> tuple[int, str, int]:
    return -STAGES.index(one.step.stage), one.queued_at, one.step.id
