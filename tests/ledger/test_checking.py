"""What is wrong with a ledger is told with what to do; only what is safe is put right."""

import sqlite3
import subprocess
from contextlib import closing

import pytest
from sqlalchemy import update

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.finding import Severity
from lora_ci.core.step import Stage
from lora_ci.execution.lead import this_process
from lora_ci.execution.processes import started_at
from lora_ci.ledger import tables
from tests.ledger.kept import ADAPTER, Kept
from tests.ledgers import new_ledger


@pytest.fixture
def kept(tmp_path, ledger_kind, ledger_url) -> Kept:
    made = Kept(tmp_path, ledger_url)
    yield made
    made.database.close()


def change(kept: Kept, statement) -> None:
    with kept.database.transaction() as connection:
        connection.execute(statement)


def train(kept: Kept, data: bytes = b"weights") -> str:
    run = kept.run("run", 1)
    kept.step(run, "mei", Stage.TRAIN, 1, {ADAPTER: data})
    return sha256_bytes(data)


def begin(kept: Kept, owner: str | None, executor: str = "inline", handle: str | None = None):
    """A step that runs, in a run of that owner."""
    kept.run("on", 1, over=False)
    kept.step("on", "kai", Stage.TRAIN, 1, outcome=None)
    if owner:
        kept.ledger.queue.beat("on", owner)
    (step,) = kept.ledger.queue.unfinished("on")
    key = kept.ledger.queue.begin([(step, {})], executor=executor)[0]
    if handle:
        kept.ledger.queue.note_handles({key: handle})


def gone() -> str:
    """A process of this machine that is no more."""
    process = subprocess.Popen(["true"])
    owner = f"{this_process().rsplit(':', 2)[0]}:{process.pid}:{started_at(process.pid) or 1}"
    process.wait()
    return owner


def test_a_sound_ledger_has_no_findings(kept):
    train(kept)
    found = kept.examine(deep=True)
    assert found.findings == ()
    assert found.is_sound
    assert (found.objects, found.object_bytes) == (2, len(b"weightslog of mei"))


def test_a_missing_and_a_damaged_artifact_are_told_apart(kept):
    kept.path(train(kept)).unlink()
    (finding,) = kept.examine().findings
    assert (finding.rule, finding.severity) == ("ledger.artifact-missing", Severity.WARNING)
    assert "train of mei made adapter.safetensors" in finding.message
    kept.put(b"weights", 1)
    place = kept.path(sha256_bytes(b"weights"))
    place.write_bytes(b"WEIGHTS")
    assert kept.rules() == []
    (finding,) = kept.examine(deep=True).findings
    assert (finding.rule, finding.severity) == ("ledger.artifact-damaged", Severity.ERROR)
    assert finding.hint.startswith(f"next: rm {place}")
    place.write_bytes(b"cut")
    assert kept.rules() == ["ledger.artifact-damaged"]


def test_what_nobody_names_and_pins_of_nothing_are_told(kept):
    train(kept)
    kept.put(b"of nobody", 1)
    kept.retention.pin("0" * 64, "long gone")
    found = kept.examine()
    assert sorted(f.rule for f in found.findings) == [
        "ledger.pin-of-nothing",
        "ledger.unreferenced",
    ]
    assert (found.unreferenced, found.unreferenced_bytes) == (1, 9)
    assert [pin.why for pin in found.pins] == ["long gone"]


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_step_that_nobody_moves_on_is_ended_if_that_is_wished(kept, executor):
    begin(kept, gone(), executor)
    assert kept.rules() == ["ledger.abandoned-step"]
    assert not kept.examine().is_sound
    assert kept.ledger.queue.unfinished("on")
    found = kept.examine(repair=True)
    assert (found.repaired, found.is_sound) == (1, True)
    assert kept.ledger.queue.unfinished("on") == ()
    assert kept.ledger.queue.open_attempts() == ()
    assert kept.rules() == []


def test_a_step_whose_owner_lives_is_left_alone(kept):
    begin(kept, this_process())
    assert kept.examine(repair=True).findings == ()
    assert kept.ledger.queue.unfinished("on")


def test_an_attempt_that_still_runs_is_not_ended(kept):
    process = subprocess.Popen(["sleep", "60"])
    try:
        begin(kept, gone(), "local", f"{process.pid}:{started_at(process.pid)}:mark")
        assert kept.rules(repair=True) == ["ledger.ownerless-attempt"]
        assert len(kept.ledger.queue.open_attempts()) == 1
    finally:
        process.kill()
        process.wait()
    assert kept.examine(repair=True).repaired == 1


def test_an_attempt_on_a_cluster_is_not_ended(kept):
    begin(kept, gone(), "slurm", "4711")
    assert kept.rules(repair=True) == ["ledger.ownerless-attempt"]


def test_an_attempt_on_a_cluster_that_is_no_more_is_ended_if_that_is_said(kept):
    begin(kept, gone(), "slurm", "4711")
    found = kept.examine()
    assert "--gone slurm" in found.findings[0].hint
    assert kept.examine(repair=True, gone=("ray",)).repaired == 0
    assert kept.examine(repair=True, gone=("slurm",)).repaired == 1
    assert kept.rules() == []


def test_a_run_of_another_machine_is_watched_for_a_while(kept):
    begin(kept, "elsewhere:1:1")
    assert kept.rules() == ["ledger.abandoned-step"]
    assert 15 <= kept.clock.slept_s < 20
    sleep = kept.clock.sleep

    def beat(seconds: float) -> None:
        kept.ledger.queue.beat("on", "elsewhere:1:1")
        sleep(seconds)

    kept.clock.sleep = beat
    assert kept.rules() == []


def test_a_step_that_was_added_just_now_is_not_abandoned(kept):
    kept.run("new", 0, over=False)
    kept.step("new", "mei", Stage.TRAIN, 0, outcome=None)
    assert kept.rules() == []
    change(kept, update(tables.step).values(queued_at="2026-11-26T11:00:00.000000+00:00"))
    assert kept.rules() == ["ledger.abandoned-step"]


def test_an_open_attempt_of_an_ended_step_is_closed(kept):
    train(kept)
    change(kept, update(tables.attempt).values(state="open", ended_at=None, outcome=None))
    assert kept.rules() == ["ledger.stray-attempt"]
    assert kept.examine(repair=True).repaired == 1
    assert kept.rules() == []


def test_values_that_cannot_be_read_are_named(kept):
    train(kept)
    change(kept, update(tables.record).values(result='{"outcome": "splendid"}'))
    change(kept, update(tables.run).values(view="{"))
    found = kept.examine()
    assert sorted(f.message.partition(" cannot")[0].split(" ")[0] for f in found.findings) == [
        "result",
        "view",
    ]
    assert {f.rule for f in found.findings} == {"ledger.unreadable"}
    assert not found.is_sound


def test_rows_that_name_what_is_not_there_are_told(tmp_path):
    kept = Kept(tmp_path, new_ledger(tmp_path))
    train(kept)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
        # Other programs do not look at what refers to what.
        other.execute("DELETE FROM run")
    assert kept.rules() == ["ledger.dangling"]


def test_a_file_with_damage_is_told(tmp_path):
    kept = Kept(tmp_path, new_ledger(tmp_path))
    train(kept)
    kept.database.close()
    file = tmp_path / "ledger.db"
    data = bytearray(file.read_bytes())
    # The last page, which is of an index: rows are found without it, and wrongly so.
    page = int.from_bytes(data[16:18], "big")
    data[-page:] = bytes(page)
    file.write_bytes(data)
    again = Kept(tmp_path, f"sqlite:///{file}")
    assert set(again.rules()) == {"ledger.damaged"}
