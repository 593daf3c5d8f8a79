"""What is needed stays, what is not goes, and nobody who is at work loses anything."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.plan import Action
from lora_ci.core.run import StepView
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.votes import Against, Choice, Side, Vote
from lora_ci.execution.lead import this_process
from lora_ci.store.inventory import mend, remove, stored
from tests.ledger.kept import ADAPTER, NOW, Kept
from tests.ledger.killed import killed_at
from tests.ledgers import new_ledger
from tests.views import make_decision, make_view

YOUNG, OLD, VERY_OLD = 3.0, 40.0, 80.0
DEADLINE_S = 60


@pytest.fixture
def kept(tmp_path, ledger_kind, ledger_url) -> Kept:
    made = Kept(tmp_path, ledger_url)
    yield made
    made.database.close()


def train(kept: Kept, lora: str, days_ago: float, data: bytes = b"") -> str:
    """A training of its own; returns the sha256 of the adapter."""
    data = data or f"{lora} {days_ago}".encode()
    run = kept.run(f"train-{lora}-{days_ago}", days_ago)
    made = {ADAPTER: data, "sample.png": b"sample of " + data}
    record = kept.step(run, lora, Stage.TRAIN, days_ago, made, seed=data.decode())
    return record.result.artifact(ADAPTER).sha256


def test_what_is_young_stays_and_what_nobody_needs_goes(kept):
    train(kept, "mei", VERY_OLD, b"first")
    train(kept, "mei", OLD, b"second")
    train(kept, "mei", YOUNG, b"third")
    kept.put(b"of nobody", OLD)
    gone = kept.clean_up()
    assert [kept.has(name) for name in (b"first", b"second", b"third")] == [False, False, True]
    assert not kept.has(b"of nobody")
    assert not kept.has(b"sample of first")
    assert kept.has(b"log of mei")
    assert (gone.runs, gone.records, gone.objects) == (2, 2, 5)
    assert gone.object_bytes == len(b"firstsecondof nobodysample of firstsample of second")
    assert [run.id for run in kept.ledger.recent_runs(9)] == ["train-mei-3.0"]
    assert kept.rules() == []
    assert kept.clean_up() == type(gone)()


def test_a_dry_run_counts_the_same_and_removes_nothing(kept):
    train(kept, "mei", VERY_OLD, b"first")
    train(kept, "mei", YOUNG, b"second")
    would = kept.clean_up(dry_run=True)
    assert kept.has(b"first")
    assert len(kept.ledger.recent_runs(9)) == 2
    assert kept.clean_up() == would
    assert would.objects == 2


def test_a_release_keeps_its_whole_chain_whatever_its_age(kept):
    adapter = train(kept, "mei", VERY_OLD, b"released")
    run = kept.run("release", VERY_OLD)
    kept.step(run, "mei", Stage.QA, VERY_OLD, {"page.png": b"picture"}, adapter=adapter)
    manifest = {"manifest.json": b"manifest"}
    kept.step(run, "mei", Stage.DEPLOY, VERY_OLD, manifest, adapter=adapter, version="1.0.0")
    other = train(kept, "mei", OLD, b"never released")
    run = kept.run("other", OLD)
    kept.step(run, "mei", Stage.QA, OLD, {"page.png": b"other picture"}, adapter=other)
    qa = train(kept, "mei", YOUNG, b"newest")
    kept.step(kept.run("now", YOUNG), "mei", Stage.QA, YOUNG, {"p.png": b"page"}, adapter=qa)
    kept.clean_up()
    for data in (b"released", b"sample of released", b"picture", b"manifest", b"newest", b"page"):
        assert kept.has(data), data
    assert not kept.has(b"never released")
    assert not kept.has(b"other picture")
    assert kept.rules() == []


def test_the_newest_of_a_lora_stays_but_not_that_of_a_matrix(kept):
    train(kept, "mei", OLD, b"newest of mei")
    train(kept, "sd1.5-kai.v2-final", OLD, b"newest of kai")
    train(kept, "mei.rank-8.learning_rate-1e-4", OLD, b"one of many")
    train(kept, "mei.shard-1-of-2", OLD, b"a part of what was merged")
    train(kept, "mei.0a1b2c3d", OLD, b"another")
    kept.clean_up()
    assert kept.has(b"newest of mei")
    assert kept.has(b"newest of kai")
    assert not kept.has(b"one of many")
    assert not kept.has(b"another")
    assert not kept.has(b"a part of what was merged")


def test_what_a_young_run_used_again_stays(kept):
    train(kept, "mei.rank-8", OLD, b"used again")
    train(kept, "mei.rank-16", OLD, b"not used")
    (record,) = (r for r in kept.ledger.newest() if r.lora == "mei.rank-8")
    decision = replace(make_decision(record.lora, record.stage, Action.REUSE), record=record)
    view = make_view(StepView(decision=decision, result=record.result))
    kept.set(YOUNG)
    kept.ledger.start_run(view.run_id, view.event)
    kept.ledger.save_view(view)
    kept.clean_up()
    assert kept.has(b"used again")
    assert kept.has(b"sample of used again")
    assert not kept.has(b"not used")


def test_pins_votes_and_unfinished_steps_keep_what_they_name(kept):
    pinned = train(kept, "mei.rank-1", OLD, b"pinned")
    train(kept, "mei.rank-2", OLD, b"pinned by its record")
    judged = train(kept, "mei.rank-3", OLD, b"voted on")
    waiting = train(kept, "mei.rank-4", OLD, b"waited for")
    run = kept.run("votes", OLD)
    page = {"page.png": b"picture"}
    record = kept.step(run, "mei.rank-3", Stage.QA, OLD, page, adapter=judged)
    kept.ledger.cast(
        Vote(
            fingerprint=record.fingerprint, pair="p", voter="v", lora="mei.rank-3",
            against=Against.BASE, choice=Choice.NEW, side=Side.LEFT, seed=1, at="",
        )
    )  # fmt: skip
    (other,) = (r for r in kept.ledger.newest() if r.lora == "mei.rank-2")
    kept.retention.pin(pinned, "shown to somebody")
    kept.retention.pin(other.fingerprint, "for the paper")
    kept.step(kept.run("on", OLD), "mei.rank-4", Stage.QA, OLD, outcome=None, adapter=waiting)
    kept.clean_up()
    for data in (b"pinned", b"pinned by its record", b"voted on", b"picture", b"waited for"):
        assert kept.has(data), data
    assert kept.ledger.queue.unfinished("on")
    assert kept.retention.unpin(pinned)
    assert not kept.retention.unpin(pinned)
    kept.clean_up()
    # Its training is on record as long as what it made is needed.
    assert not kept.has(b"pinned")


def test_what_was_used_in_the_last_hour_or_since_a_step_was_begun_stays(kept):
    kept.put(b"just now", 0.01)
    kept.put(b"yesterday", 1)
    kept.put(b"last week", 7)
    kept.put(b"last month", 33)
    kept.step(kept.run("waits", 40), "mei", Stage.TRAIN, 40, outcome=None)
    kept.step(kept.run("on", 5), "kai", Stage.TRAIN, 5, outcome=None)
    (step,) = kept.ledger.queue.unfinished("on")
    kept.ledger.queue.begin([(step, {})], executor="local")
    kept.clean_up()
    there = [kept.has(n) for n in (b"just now", b"yesterday", b"last week", b"last month")]
    assert there == [True, True, False, False]


def test_reading_an_artifact_keeps_it(kept):
    sha256 = kept.put(b"read", 50)
    kept.age(kept.path(sha256), 50)
    kept.store.get(sha256)
    kept.clean_up()
    assert kept.has(b"read")


def test_records_stay_a_month_for_budgets_however_short_the_age(kept):
    train(kept, "mei.rank-8", 10, b"ten days")
    gone = kept.clean_up(days=7)
    assert (gone.runs, gone.records) == (1, 0)
    assert not kept.has(b"ten days")
    assert [r.lora for r in kept.ledger.newest()] == ["mei.rank-8"]
    assert kept.rules() == ["ledger.artifact-gone"]
    assert kept.examine().is_sound


def test_a_store_that_may_be_of_others_is_left_alone(kept):
    train(kept, "mei.rank-8", OLD, b"of others?")
    gone = kept.clean_up(ours=False)
    assert kept.has(b"of others?")
    assert (gone.objects, gone.left_for_others, gone.records) == (0, 3, 1)
    assert kept.clean_up().objects == 3


def test_a_run_that_somebody_is_at_is_not_over(kept):
    kept.run("on", OLD, over=False)
    kept.ledger.queue.beat("on", "another-machine:1:2")
    kept.run("left", OLD, over=False)
    assert kept.clean_up().runs == 1
    assert [run.id for run in kept.ledger.recent_runs(9)] == ["on"]


def test_folders_that_nobody_uses_go(kept):
    places = [
        kept.state / kind / (letter * 32) for kind in ("steps", "inputs") for letter in "abcd"
    ]
    for folder in places:
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"12345")
        if folder.parent.name == "steps":
            (folder / "lock").touch()
        kept.age(folder, YOUNG if folder.name[0] == "b" else OLD)
    # What an unfinished step works in, or reads.
    kept.step(kept.run("on", OLD), "mei", Stage.TRAIN, OLD, outcome=None, dataset="d" * 64)
    with (kept.state / "steps" / ("c" * 32) / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gone = kept.clean_up()
    assert (gone.folders, gone.folder_bytes) == (3, 15)
    left = [f"{f.parent.name}/{f.name[0]}" for f in places if f.exists()]
    assert left == ["steps/b", "steps/c", "steps/d", "inputs/b", "inputs/d"]
    gone = kept.clean_up()
    assert (gone.folders, gone.folder_bytes) == (1, 5)


def test_two_clean_ups_at_once_do_it_once(tmp_path):
    kept = Kept(tmp_path, new_ledger(tmp_path))
    for number in range(60):
        kept.put(str(number).encode(), OLD)
        folder = tmp_path / "steps" / f"{number:032x}"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"12345")
        kept.age(folder, OLD)
    others = [Kept(tmp_path, kept.url) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        gone = list(pool.map(Kept.clean_up, others))
    assert sum(one.objects for one in gone) == 60
    assert sum(one.folders for one in gone) == 60
    assert list(stored(kept.store.root)) == []
    assert list((tmp_path / "steps").iterdir()) == []


def test_a_killed_removal_is_put_right(kept):
    sha256 = kept.put(b"needed", OLD)
    place = kept.path(sha256)
    place.rename(place.with_name(f".gone-{place.name}"))
    torn = kept.store.root / "put-torn"
    torn.write_bytes(b"half")
    kept.age(torn, OLD)
    assert mend(kept.store.root, unused_since=NOW.timestamp()) == 2
    assert kept.store.get(sha256).read_bytes() == b"needed"
    assert not torn.exists()


@pytest.mark.slow
def test_a_clean_up_that_is_killed_is_done_again(tmp_path):
    kept = Kept(tmp_path, new_ledger(tmp_path))
    train(kept, "mei", OLD, b"needed")
    events = ("os.rename", "os.remove", "os.rmdir", "open")
    number, killed = 1, True
    while killed:
        train(kept, f"mei.rank-{number}", OLD)
        folder = tmp_path / "steps" / f"{number:032x}"
        folder.mkdir(parents=True)
        kept.age(folder, OLD)
        kept.database.close()
        killed = killed_at(number, events, Kept(tmp_path, kept.url).clean_up)
        assert kept.has(b"needed")
        assert kept.examine(deep=True).is_sound
        number += 2
    assert number > 15
    kept.clean_up()
    assert kept.rules() == []
    assert list((tmp_path / "steps").iterdir()) == []


def test_what_is_put_while_it_is_removed_is_there_in_the_end(tmp_path):
    kept = Kept(tmp_path, new_ledger(tmp_path))
    sha256 = kept.put(b"again", OLD)
    ended = threading.Event()
    limit = NOW.timestamp()

    def clean() -> None:
        while not ended.is_set():
            remove(kept.store.root, sha256, used_before=limit - 3600)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    file = tmp_path / "made"
    for _ in range(100):
        kept.store.put(file)
        with suppress(FileNotFoundError):
            os.utime(kept.path(sha256), (0, 0))
    kept.store.put(file)
    ended.set()
    cleaner.join()
    assert [one.sha256 for one in stored(kept.store.root)] == [sha256]


# What a ledger may have: when, which LoRA, how far it came, whether it is pinned.
PASTS = st.lists(
    st.tuples(
        st.integers(0, 90),
        st.sampled_from(["mei", "kai", "mei.rank-8", "mei.rank-16"]),
        st.sampled_from(["train", "fail", "qa", "release", "waits"]),
        st.booleans(),
    ),
    max_size=10,
)


@pytest.mark.slow
@settings(max_examples=15, derandomize=True)
@given(past=PASTS, days=st.sampled_from([1, 30, 60]))
def test_after_a_clean_up_all_that_is_needed_is_whole_and_a_second_one_does_nothing(past, days):
    with tempfile.TemporaryDirectory() as name:
        kept = Kept(Path(name), new_ledger(Path(name)))
        must = _make(kept, past, days)
        kept.clean_up(days)
        for data in must:
            assert kept.has(data), data
        # What is whole is found again, what is not is never taken for whole.
        assert kept.examine(deep=True).is_sound
        if days >= 30:
            assert set(kept.rules()) <= {"ledger.unreferenced"}
        second = kept.clean_up(days)
        assert second == type(second)()
        kept.database.close()


def _make(kept: Kept, past, days: int) -> set[bytes]:
    """Makes the past; returns what must outlive a clean-up."""
    must: set[bytes] = set()
    for number, (ago, lora, far, pinned) in enumerate(past):
        run = kept.run(f"run-{number}", ago)
        data = f"adapter {number}".encode()
        outcome = Outcome.FAILED if far == "fail" else Outcome.PASSED
        made = {ADAPTER: data} if far != "fail" else {}
        record = kept.step(run, lora, Stage.TRAIN, ago, made, outcome=outcome, seed=str(number))
        chain = {data} if made else set()
        adapter = sha256_bytes(data)
        if far in ("qa", "release"):
            page = f"page {number}".encode()
            kept.step(run, lora, Stage.QA, ago, {"page.png": page}, adapter=adapter)
            chain.add(page)
        if far == "release":
            kept.step(run, lora, Stage.DEPLOY, ago, {}, adapter=adapter, version=str(number))
            must |= chain
        if far == "waits":
            kept.step(run, lora, Stage.QA, ago, outcome=None, adapter=adapter)
            kept.ledger.queue.beat(run, this_process())
            must.add(data)
        if pinned and made:
            kept.retention.pin(record.fingerprint, "test")
            must.add(data)
        if ago < days:
            must |= chain
    return must


@pytest.mark.slow
def test_clean_ups_take_nothing_from_those_who_write(
    tmp_path, ledger_kind, ledger_url, monkeypatch
):
    """With no hour of grace: what is begun, and what is on record, is all that protects."""
    monkeypatch.setattr("lora_ci.app.clean_up.GRACE", timedelta(0))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.ledger.writer", ledger_url, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, name, "12"], stdout=subprocess.PIPE, text=True, cwd=root)
        for name in ("first", "second")
    ]
    kept = Kept(tmp_path, ledger_url)
    os.utime(kept.path(kept.put(b"of nobody", OLD)), (0, 0))
    try:
        until = time.monotonic() + DEADLINE_S
        while any(writer.poll() is None for writer in writers):
            assert time.monotonic() < until
            kept.clean_up(now=datetime.now(UTC))
        told = [line for writer in writers for line in writer.stdout.read().split()]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    assert len(told) == 24
    assert {record.fingerprint for record in kept.ledger.finished_since("")} == set(told)
    assert kept.examine(deep=True).findings == ()
    kept.database.close()
