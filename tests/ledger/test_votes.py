"""Votes in the ledger: one a person and pair, the last one; older ledgers get the table."""

from dataclasses import replace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.votes import Against, Choice, Side, Vote
from lora_ci.ledger import tables
from lora_ci.ledger.ledger import open_ledger
from tests.bot.clocks import SetClock
from tests.ledgers import new_ledger

VOTE = Vote(
    fingerprint="f" * 64, pair="a" * 64, voter="Ann", lora="mei", against=Against.RELEASED,
    choice=Choice.NEW, side=Side.LEFT, seed=2**53 - 1,
)  # fmt: skip


@pytest.fixture
def ledger(tmp_path):
    ledger = open_ledger(new_ledger(tmp_path), SetClock())
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


def test_a_ledger_of_the_second_schema_is_upgraded(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", "lora_ci:ledger/migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        assert not inspect(connection).has_table("vote")
        connection.exec_driver_sql(
            "INSERT INTO run (id, event, started_at) VALUES (?, ?, ?)",
            ("run-1", '{"kind":"push","repo":"r","head":"h"}', "2026-11-25T12:00:00"),
        )
    engine.dispose()
    ledger = open_ledger(url, SystemClock())
    assert [run.event for run in ledger.recent_runs(5)] == [
        Event(kind=EventKind.PUSH, repo="r", head="h")
    ]
    ledger.cast(VOTE)
    assert len(ledger.votes()) == 1
    ledger.close()
    made = inspect(create_engine(url)).get_columns("vote")
    assert {(c["name"], str(c["type"]), c["nullable"]) for c in made} == {
        (c.name, str(c.type), c.nullable) for c in tables.vote.columns
    }
