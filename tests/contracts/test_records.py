"""Every kind of records answers the planner's questions alike."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.app.records import KeptRecords, NoRecords
from lora_ci.core.artifact import Artifact
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision, Record
from lora_ci.core.step import Outcome, Stage, StepResult, StepSpec
from lora_ci.ledger.git_records import GitRecords
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.ledger.remote_records import fetch_records, publish_records
from lora_ci.ledger.snapshot import Snapshot
from lora_ci.plan.records import LayeredRecords, Records
from lora_ci.plan.simulate import Imagined
from lora_ci.store.local import LocalStore
from tests.bare import make_clone, make_hub
from tests.ledgers import drop_ledger, new_ledger
from tests.records import DictRecords

PASSED = StepResult(outcome=Outcome.PASSED)


class Past:
    """A ledger that steps can be written into."""

    def __init__(self, place: Path, url: str) -> None:
        self.place = place
        self.ledger: Ledger = open_ledger(url, SystemClock())
        self.count = 0

    def add(self, lora: str, stage: Stage, content: str, result: StepResult = PASSED) -> str:
        """Runs a step in no time; returns its fingerprint."""
        self.count += 1
        run_id = f"run-{self.count}"
        fingerprint = make_fingerprint(stage, {"lora": lora, "dataset": content})
        event = Event(kind=EventKind.PUSH, repo="r", head="h")
        self.ledger.start_run(run_id, event)
        decision = Decision(
            lora=lora, stage=stage, action=Action.RUN, why="", fingerprint=fingerprint
        )
        spec = StepSpec(stage=stage, lora=lora, fingerprint=fingerprint.value, inputs={}, params={})
        self.ledger.queue.add(run_id, decision, spec, commit="c")
        (row,) = self.ledger.queue.unfinished(run_id)
        self.ledger.queue.settle(row, result)
        return fingerprint.value


def in_memory(past: Past) -> DictRecords:
    """The same records in a list."""
    return DictRecords(list(past.ledger.finished_since("")))


def in_git(past: Past) -> GitRecords:
    """The same records on the ref of a remote, read in another clone."""
    hub, turn = make_hub(past.place / "hub.git"), {"clock": SystemClock(), "rng": random.Random(1)}
    there, here = make_clone(hub, past.place / "there"), make_clone(hub, past.place / "here")
    records = past.ledger.finished_since("")
    assert publish_records(there, "origin", records, kept_in=None, **turn) == ()
    return GitRecords(here, fetch_records(here, "origin", **turn))


def in_layers(past: Past) -> LayeredRecords:
    """Half of the records here and half there; the first layer knows an older one as well."""
    records = past.ledger.finished_since("")
    older = [replace(r, finished_at="2001-01-01T00:00:00.000000+00:00") for r in records[1::2]]
    return LayeredRecords((DictRecords([*older, *records[::2]]), DictRecords(list(records[1::2]))))


KINDS: dict[str, Callable[[Past], Records]] = {
    "ledger": lambda past: past.ledger,
    "snapshot": lambda past: Snapshot(past.ledger),
    "kept": lambda past: KeptRecords(Snapshot(past.ledger), LocalStore(past.place / "objects")),
    "in memory": in_memory,
    "imagined": lambda past: Imagined(past.ledger),
    "git": in_git,
    "one layer": lambda past: LayeredRecords((past.ledger,)),
    "layers": in_layers,
}


ON_A_SERVER = pytest.mark.slow, pytest.mark.needs_postgres
CASES = [
    *((name, "sqlite") for name in KINDS),
    *(pytest.param((name, "postgresql"), marks=ON_A_SERVER) for name in ("ledger", "snapshot")),
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request) -> tuple[str, str]:
    """A kind of records, and what the ledger is kept in."""
    return request.param


@pytest.fixture
def past(case, tmp_path) -> Iterator[Past]:
    url = new_ledger(tmp_path, case[1])
    past = Past(tmp_path, url)
    yield past
    past.ledger.close()
    drop_ledger(url)


@pytest.fixture
def read(case) -> Callable[[Past], Records]:
    return KINDS[case[0]]


def contents(records: tuple[Record, ...]) -> list[str]:
    return [record.parts["dataset"] for record in records]


def test_a_record_is_found_by_its_fingerprint_however_old_it_is(past, read):
    fingerprints = [past.add("mei", Stage.TRAIN, content) for content in "abc"]
    failed = past.add("mei", Stage.TRAIN, "d", replace(PASSED, outcome=Outcome.FAILED))
    records = read(past)
    for fingerprint, content in zip(fingerprints, "abc", strict=True):
        assert records.find(fingerprint).parts["dataset"] == content
    assert records.find(failed).result.outcome is Outcome.FAILED
    assert records.find("0" * 64) is None


def test_what_passed_comes_newest_first(past, read):
    for content in "abc":
        past.add("mei", Stage.TRAIN, content)
    past.add("leo", Stage.TRAIN, "x")
    past.add("mei", Stage.QA, "y")
    past.add("mei", Stage.TRAIN, "d", replace(PASSED, outcome=Outcome.INCONCLUSIVE))
    records = read(past)
    assert contents(records.passed("mei", Stage.TRAIN)) == ["c", "b", "a"]
    assert contents(records.passed(None, Stage.TRAIN)) == ["x", "c", "b", "a"]
    assert records.passed("mei", Stage.DEPLOY) == ()
    assert records.passed("nobody", Stage.TRAIN) == ()


def test_what_was_finished_since(past, read):
    past.add("mei", Stage.TRAIN, "a")
    past.add("mei", Stage.TRAIN, "b")
    moment = past.ledger.finished_since("")[1].finished_at
    records = read(past)
    assert contents(records.finished_since("")) == ["a", "b"]
    assert contents(records.finished_since(moment)) == ["b"]
    assert records.finished_since("9") == ()


def test_an_error_leaves_no_record(past, read):
    error = past.add("mei", Stage.TRAIN, "a", replace(PASSED, outcome=Outcome.ERROR))
    assert read(past).find(error) is None


def test_no_records_have_none():
    records: Records = NoRecords()
    assert records.find("0" * 64) is None
    assert records.passed("mei", Stage.QA) == records.finished_since("") == ()


def test_a_record_whose_artifact_is_gone_is_not_kept(tmp_path):
    past = Past(tmp_path, new_ledger(tmp_path))
    lost = Artifact(name="a", sha256="a" * 64, size_bytes=1, media_type="x/y")
    fingerprint = past.add("mei", Stage.TRAIN, "a", replace(PASSED, artifacts=(lost,)))
    assert past.ledger.find(fingerprint)
    assert KINDS["kept"](past).find(fingerprint) is None
