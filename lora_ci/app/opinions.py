"""All judgements that people voted on, as the calibration of gates reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from lora_ci.core.plan import Record
from lora_ci.core.step import Stage
from lora_ci.core.votes import Against, Choice, Vote
from lora_ci.ledger.ledger import Ledger
from lora_ci.qa.agreement import by_pair
from lora_ci.qa.blind import blind_of
from lora_ci.qa.calibration import SIGNS, Tried
from lora_ci.qa.gates import CONDITION
from lora_ci.report.details import Details, read_details


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """What people said of runs that one embedder measured.

    `people` and `judge` say what most voters and the judge prefer, by judgement and pair. `gates`
    are the values of the gates that stood when the newest of them was judged. `left_out` counts
    judgements with votes that another embedder measured, `lost` those that are not on record any
    more; `against` counts the judgements by what the new pictures were compared with.
    """

    embedder: str
    runs: tuple[Tried, ...]
    votes: tuple[Vote, ...]
    people: dict[str, Choice]
    judge: dict[str, Choice]
    gates: dict[str, float]
    against: dict[Against, int]
    left_out: int
    lost: int


@dataclass(frozen=True, slots=True)
class _Heard:
    record: Record
    details: Details
    votes: tuple[Vote, ...]


def gather_opinions(ledger: Ledger) -> Opinions:
    """The votes of the ledger, by judgement.

    Metrics of different embedders are on different scales: only those of the embedder of the newest
    judgement are taken.
    """
    by_run: dict[str, list[Vote]] = defaultdict(list)
    for vote in ledger.votes():
        by_run[vote.fingerprint].append(vote)
    heard = [
        _Heard(record, read_details(Stage.QA, record.result), tuple(votes))
        for fingerprint, votes in by_run.items()
        if (record := ledger.find(fingerprint))
    ]
    heard.sort(key=lambda one: one.record.finished_at)
    newest = heard[-1] if heard else None
    embedder = (newest.details.embedder or "") if newest else ""
    same = [one for one in heard if (one.details.embedder or "") == embedder]
    against = [one.votes[0].against for one in same]
    return Opinions(
        embedder=embedder,
        runs=tuple(_tried(one) for one in same),
        votes=tuple(vote for one in same for vote in one.votes),
        people={key: choice for one in same for key, choice in _people(one)},
        judge={key: choice for one in same for key, choice in _judge(one)},
        gates=_gates(newest.details) if newest else {},
        against={kind: against.count(kind) for kind in Against},
        left_out=len(heard) - len(same),
        lost=len(by_run) - len(heard),
    )


def _tried(heard: _Heard) -> Tried:
    said = by_pair(heard.votes)
    metrics = dict(heard.record.result.metrics)
    return Tried(
        fingerprint=heard.record.fingerprint,
        lora=heard.record.lora,
        metrics={name: metrics[name] for name in SIGNS if name in metrics},
        liked=sum(choice is not Choice.OTHER for choice in said.values()),
        pairs=len(said),
    )


def _people(heard: _Heard) -> Iterator[tuple[str, Choice]]:
    for pair, choice in by_pair(heard.votes).items():
        yield f"{heard.record.fingerprint} {pair}", choice


def _judge(heard: _Heard) -> Iterator[tuple[str, Choice]]:
    for pair in blind_of(heard.record.result).pairs:
        if pair.judged:
            yield f"{heard.record.fingerprint} {pair.id}", pair.judged


def _gates(details: Details) -> dict[str, float]:
    """The limits of gates that point the way of ours."""
    found = {}
    for gate in details.gates:
        match = CONDITION.fullmatch(gate.condition.strip())
        if match and SIGNS.get(gate.metric, "")[:1] == match["sign"][:1]:
            found[gate.metric] = float(match["limit"])
    return found
