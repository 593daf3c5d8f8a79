"""Votes in the ledger: one a person and pair, the last one."""

from dataclasses import replace
from functools import partial

import pytest

from lora_ci.core.votes import Against, Choice, Side, Vote
from lora_ci.ledger.ledger import open_ledger
from tests.bot.clocks import SetClock
from tests.ledger.lines import at_once

VOTE = Vote(
    fingerprint="f" * 64, pair="a" * 64, voter="Ann", lora="mei", against=Against.RELEASED,
    choice=Choice.NEW, side=Side.LEFT, seed=2**53 - 1,
)  # fmt: skip


@pytest.fixture
def ledger(ledger_url):
    ledger = open_ledger(ledger_url, SetClock())
    yield ledger
    ledger.close()


def test_the_last_vote_of_a_person_on_a_pair_counts(ledger):
    ledger.cast(VOTE)
    ledger.cast(replace(VOTE, choice=Choice.OTHER, side=Side.RIGHT, seed=7))
    (kept,) = ledger.votes(VOTE.fingerprint)
    assert (kept.choice, kept.side, kept.seed) == (Choice.OTHER, Side.RIGHT, 7)
    assert kept == replace(VOTE, choice=kept.choice, side=kept.side, seed=7, at=kept.at)
    assert kept.at == "2026-11-25T12:00:00.000000+00:00"


def test_other_people_pairs_and_judgements_stand_beside_it(ledger):
    others = [
        replace(VOTE, voter="Bob"), replace(VOTE, pair="b" * 64),
        replace(VOTE, fingerprint="e" * 64),
    ]  # fmt: skip
    for vote in (VOTE, *others):
        ledger.cast(vote)
    assert len(ledger.votes()) == 4
    assert len(ledger.votes(VOTE.fingerprint)) == 3
    ledger.withdraw(VOTE)
    ledger.withdraw(VOTE)
    left = {(vote.fingerprint, vote.pair, vote.voter) for vote in ledger.votes()}
    assert left == {(vote.fingerprint, vote.pair, vote.voter) for vote in others}


def test_votes_of_a_person_that_come_at_once_are_one(ledger_url):
    ledgers = [open_ledger(ledger_url, SetClock()) for _ in range(6)]
    at_once([partial(ledger.cast, replace(VOTE, seed=n)) for n, ledger in enumerate(ledgers)])
    assert len(ledgers[0].votes()) == 1
    for ledger in ledgers:
        ledger.close()
