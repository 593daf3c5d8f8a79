"""A backup is one moment, whole or not there; it comes back anywhere, and work goes on there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, select

from lora_ci.app.backup import ASIDE, LIST, MANIFEST, ROWS, read_backup, restore, write_backup
from lora_ci.core.clock import SystemClock
from lora_ci.core.digest import canonical_json, sha256_file, sha256_json
from lora_ci.core.errors import InfrastructureError, IntegrityError, LoraCIError, UsageError
from lora_ci.core.plan import Record
from lora_ci.core.step import Stage
from lora_ci.execution.tick import AGAIN
from lora_ci.ledger import tables
from lora_ci.ledger.database import open_database
from lora_ci.ledger.ledger import open_ledger
from lora_ci.steps.main import is_whole
from lora_ci.store.local import LocalStore
from tests.command import lora_ci
from tests.ledger.kept import ADAPTER, Kept
from tests.ledger.killed import killed_at
from tests.ledger.writer import work
from tests.ledgers import drop_ledger, new_ledger

DEADLINE_S = 60


def silent(*_: object) -> None:
    """Shows no progress."""


def kept_in(folder: Path, url: str) -> Kept:
    """A ledger with something in every state."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = Kept(folder, url)
    run = kept.run("done", 2)
    kept.step(run, "mei", Stage.TRAIN, 2, {ADAPTER: b"weights", "sample.png": b"picture"})
    kept.run("on", 1, over=False)
    kept.step("on", "kai", Stage.TRAIN, 1, outcome=None)
    kept.step("on", "zoe", Stage.TRAIN, 1, outcome=None)
    kept.ledger.queue.begin([(kept.ledger.queue.unfinished("on")[0], {})], executor="local")
    kept.ledger.queue.take_lease("steps", "somebody", seen=None)
    kept.retention.pin("0" * 64, "für später, 猫")
    job = {
        "delivery": "d", "repo": "r", "head": "h", "wanted": "w", "attempts": 1, "due_at": "",
        "created_at": "", "handle": "1:2",
    }  # fmt: skip
    with kept.database.transaction() as connection:
        connection.execute(insert(tables.job).values(**job, state="running"))
        connection.execute(insert(tables.job).values(**job, state="running", stopping="pushed"))
        connection.execute(
            insert(tables.delivery).values(
                id="d", event="push", received_at="", due_at="", payload=b"\x00\xff{}",
                state="waiting", attempts=0, unheard=0,
            )
        )  # fmt: skip
    return kept


def backup(kept: Kept, target: Path, **how: bool) -> None:
    write_backup(
        kept.database, kept.store.root, target, kept.clock, progress=silent,
        with_objects=how.get("with_objects", True),
    )  # fmt: skip


def rows(url: str, name: str) -> list[dict]:
    """The rows of a table."""
    database = open_database(url, SystemClock())
    try:
        table = tables.metadata.tables[name]
        return [dict(row) for row in database.rows(select(table).order_by(*table.primary_key))]
    finally:
        database.close()


def records(url: str) -> dict[str, Record]:
    ledger = open_ledger(url, SystemClock())
    try:
        return {record.fingerprint: record for record in ledger.finished_since("")}
    finally:
        ledger.close()


@pytest.fixture
def other(tmp_path, ledger_kind):
    """The URL of an empty ledger of the other kind of database."""
    kind = "postgresql" if ledger_kind == "sqlite" else "sqlite"
    url = new_ledger(tmp_path / "other", kind)
    yield url
    drop_ledger(url)


@pytest.mark.slow
@pytest.mark.needs_postgres
def test_what_comes_back_into_the_other_database_is_what_was_there(
    tmp_path, ledger_kind, ledger_url, other
):
    kept = kept_in(tmp_path / "a", ledger_url)
    backup(kept, tmp_path / "backup")
    back = restore(tmp_path / "backup", other, tmp_path / "b", kept.clock, progress=silent)
    assert (back.interrupted, back.objects, back.absent) == (2, 3, 0)
    for name in ("record", "pin", "delivery", "vote", "usage"):
        assert rows(other, name) == rows(ledger_url, name)
    assert [row["outcome"] for row in rows(other, "run")] == ["passed", "interrupted"]
    ended = [json.loads(row["result"])["outcome"] for row in rows(other, "step")]
    assert ended == ["passed", "interrupted", "interrupted"]
    assert {row["state"] for row in rows(other, "attempt")} == {"ended"}
    assert [(j["state"], j["handle"]) for j in rows(other, "job")] == [
        ("waiting", None),
        ("done", None),
    ]
    assert rows(other, "lease") == []
    last = max(row["id"] for row in rows(other, "step"))
    # Ids go on where they were.
    there = Kept(tmp_path / "b", other)
    there.step(there.run("next", 0), "mei", Stage.QA, 0, outcome=None)
    assert there.ledger.queue.unfinished("next")[0].id > last
    # And back: what had ended stays as it is.
    backup(there, tmp_path / "second")
    third = new_ledger(tmp_path / "third", ledger_kind)
    restore(tmp_path / "second", third, tmp_path / "c", kept.clock, progress=silent)
    assert rows(third, "record") == rows(ledger_url, "record")
    assert rows(third, "attempt") == rows(other, "attempt")
    drop_ledger(third)
    there.database.close()
    kept.database.close()


@pytest.fixture
def made(tmp_path) -> Path:
    """A backup with its artifacts."""
    kept = kept_in(tmp_path / "a", new_ledger(tmp_path / "a"))
    backup(kept, tmp_path / "backup")
    kept.database.close()
    return tmp_path / "backup"


def test_artifacts_are_linked_or_only_listed(tmp_path, made):
    kept = Kept(tmp_path / "a", f"sqlite:///{tmp_path / 'a' / 'ledger.db'}")
    linked = [path for path in (made / "objects").glob("*/*") if path.stat().st_nlink == 2]
    assert len(linked) == 3
    backup(kept, tmp_path / "rows", with_objects=False)
    assert not (tmp_path / "rows" / "objects").exists()
    assert (tmp_path / "rows" / LIST).read_text() == (made / LIST).read_text()
    url = new_ledger(tmp_path / "b")
    back = restore(tmp_path / "rows", url, tmp_path / "b" / "objects", kept.clock, progress=silent)
    assert (back.objects, back.absent) == (0, 3)


def test_a_restore_needs_an_empty_ledger(tmp_path, made):
    url = f"sqlite:///{tmp_path / 'a' / 'ledger.db'}"
    before = rows(url, "step")
    with pytest.raises(UsageError, match="has rows in"):
        restore(made, url, tmp_path / "b", SystemClock(), progress=silent)
    assert rows(url, "step") == before
    assert not (tmp_path / "b").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    # What is linked to it stays as it was.
    path.unlink()
    path.write_bytes(data)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_a_backup_that_is_not_what_it_was_is_refused_by_the_file(tmp_path, made, harm):
    files = [p for p in sorted(made.rglob("*")) if p.is_file() and p.stat().st_size]
    assert len(files) > 8
    for number, path in enumerate(files):
        whole = path.read_bytes()
        harm(path)
        with pytest.raises(LoraCIError) as told:
            restore(
                made, f"sqlite:///{tmp_path}/{number}.db", tmp_path / "b", SystemClock(),
                progress=silent,
            )  # fmt: skip
        wanted = made if path.name == MANIFEST and harm is Path.unlink else path
        assert str(wanted) in str(told.value)
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    read_backup(made, silent)


def reseal(folder: Path, **changes: object) -> None:
    """A manifest that says something else, and is sound."""
    sealed = json.loads((folder / MANIFEST).read_bytes())
    manifest = {**sealed["manifest"], **changes}
    body = {"sha256": sha256_json(manifest), "manifest": manifest}
    (folder / MANIFEST).write_bytes(canonical_json(body))


def test_a_backup_of_a_newer_version_is_refused(tmp_path, made):
    reseal(made, schema_version="9999")
    with pytest.raises(InfrastructureError, match="newer lora-ci"):
        restore(made, f"sqlite:///{tmp_path}/b.db", tmp_path / "b", SystemClock(), progress=silent)


def test_what_is_no_backup_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="is no backup"):
            read_backup(place, silent)


# Rows as versions before this one wrote them; the step that runs became an attempt later.
OLD = {
    "run": [{"id": "run-1", "event": "{}", "started_at": "t", "outcome": None, "view": None}],
    "step": [
        {
            "id": 7, "run_id": "run-1", "lora": "mei", "stage": "train", "fingerprint": "f" * 64,
            "parts": "{}", "git_commit": "c", "spec": "{}", "state": "running", "attempts": 2,
            "handle": "123:456", "result": None,
        }
    ],
    "record": [
        {
            "fingerprint": "e" * 64, "lora": "mei", "stage": "validate", "parts": "{}",
            "result": '{"outcome":"passed"}', "outcome": "passed", "run_id": "run-1",
            "git_commit": "c", "finished_at": "2026-01-01T00:00:00.000000+00:00",
        }
    ],
}  # fmt: skip


@pytest.mark.parametrize("schema", ["0001", "0002", "0003"])
def test_a_backup_of_an_older_schema_is_upgraded(tmp_path, ledger_kind, ledger_url, schema):
    folder = tmp_path / "old"
    (folder / ROWS).mkdir(parents=True)
    (folder / LIST).write_text("")
    for name, lines in OLD.items():
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        (folder / ROWS / f"{name}.jsonl").write_bytes(data)
    paths = [LIST, *(f"{ROWS}/{name}.jsonl" for name in OLD)]
    (folder / MANIFEST).write_text('{"manifest": {}}')
    reseal(
        folder, format=1, schema_version=schema, made_at="", lora_ci="0", objects=0, object_bytes=0,
        absent=0, with_objects=False, rows={name: len(lines) for name, lines in OLD.items()},
        files={path: sha256_file(folder / path) for path in paths},
    )  # fmt: skip
    back = restore(folder, ledger_url, tmp_path / "objects", SystemClock(), progress=silent)
    assert back.interrupted == 1
    assert list(records(ledger_url)) == ["e" * 64]
    (attempt,) = rows(ledger_url, "attempt")
    assert (attempt["key"], attempt["outcome"]) == ("step-7-2", "interrupted")


# What dies


@pytest.mark.slow
def test_a_backup_that_is_killed_is_not_there(tmp_path):
    kept = kept_in(tmp_path / "a", new_ledger(tmp_path / "a"))
    kept.database.close()
    number = 1

    def make() -> None:
        again = Kept(tmp_path / "a", kept.url)
        backup(again, tmp_path / f"backup-{number}")

    events = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir")
    while killed_at(number, events, make):
        target = tmp_path / f"backup-{number}"
        if target.exists():
            read_backup(target, silent)
        number += 3
    assert number > 40
    read_backup(tmp_path / f"backup-{number}", silent)
    assert list(tmp_path.glob(f"{ASIDE}*")) == []


@pytest.mark.slow
def test_a_restore_that_is_killed_is_done_again(tmp_path, made):
    url, objects = f"sqlite:///{tmp_path}/b.db", tmp_path / "b"
    number = 1

    def bring() -> None:
        restore(made, url, objects, SystemClock(), progress=silent)

    before = records(f"sqlite:///{tmp_path / 'a' / 'ledger.db'}")
    while killed_at(number, ("open", "os.rename"), bring):
        number += 5
    assert number > 20
    assert records(url) == before
    assert len(list(objects.glob("*/*"))) == 3


@pytest.mark.slow
def test_a_full_disk_leaves_no_backup(tmp_path):
    kept = kept_in(tmp_path / "a", new_ledger(tmp_path / "a"))
    for number in range(40):
        kept.retention.pin(f"{number:064x}", "x" * 10_000)
    kept.database.close()
    told = lora_ci(tmp_path, "ledger", "backup", "backup", "--state", "a", max_file_bytes=200_000)
    assert told.code == 4
    assert "machine.disk-full" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_target_that_is_there_is_not_written_to(tmp_path, made):
    kept = Kept(tmp_path / "a", f"sqlite:///{tmp_path / 'a' / 'ledger.db'}")
    with pytest.raises(UsageError, match="is there already"):
        backup(kept, made)
    (tmp_path / "empty").mkdir()
    backup(kept, tmp_path / "empty")
    read_backup(tmp_path / "empty", silent)


def test_a_damaged_artifact_is_not_backed_up(tmp_path, made):
    kept = Kept(tmp_path / "a", f"sqlite:///{tmp_path / 'a' / 'ledger.db'}")
    place = next((tmp_path / "a" / "objects").glob("*/*"))
    flip(place)
    with pytest.raises(IntegrityError, match=str(place)):
        backup(kept, tmp_path / "second")
    assert not (tmp_path / "second").exists()


# The drill


@pytest.mark.slow
def test_the_drill(tmp_path, ledger_kind, ledger_url):
    """Several write; a backup is made; all die; it goes on elsewhere, in another database."""
    state, target = tmp_path / "a", tmp_path / "backup"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(name: str, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.ledger.writer", ledger_url, str(state), name]
        return subprocess.Popen(
            [*command, *(more or ("1000",))], stdout=subprocess.PIPE, text=True, env=environment
        )

    writers = [start("first"), start("second"), start("stuck", "1", "wait")]
    ledger = open_ledger(ledger_url, SystemClock())
    try:
        until = time.monotonic() + DEADLINE_S
        while len(ledger.finished_since("")) < 6 or not ledger.queue.unfinished("stuck-0"):
            assert time.monotonic() < until
            time.sleep(0.05)
        before = records(ledger_url)
        database = open_database(ledger_url, SystemClock())
        write_backup(
            database, state / "objects", target, SystemClock(), with_objects=True, progress=silent
        )
        database.close()
    finally:
        ledger.close()
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    url = f"sqlite:///{tmp_path / 'b' / 'ledger.db'}"
    back = restore(target, url, tmp_path / "b" / "objects", SystemClock(), progress=silent)
    after = records(url)
    assert back.interrupted >= 1
    assert back.absent == 0
    assert before.items() <= after.items()
    assert after.items() <= records(ledger_url).items()
    moved = open_ledger(url, SystemClock())
    assert all(moved.queue.unfinished(run.id) == () for run in moved.recent_runs(10_000))
    # What was finished is whole there; what was not is done.
    store = LocalStore(tmp_path / "b" / "objects")
    assert all(is_whole(record.result, store) for record in after.values())
    runs = [run.id for run in moved.recent_runs(10_000)]
    ended = {run: moved.queue.result(run, "mei", Stage.TRAIN) for run in runs}
    # A run may have had no step yet.
    lost = [run for run, result in ended.items() if not result or result.outcome in AGAIN]
    assert "stuck-0" in lost
    for run in (run for run in lost if run != "stuck-0"):
        assert moved.find(work(moved, tmp_path / "b", f"{run}-again"))
    assert moved.find(work(moved, tmp_path / "b", "new-0"))
    moved.close()


def test_a_backup_that_is_interrupted_leaves_nothing(tmp_path, made):
    kept = Kept(tmp_path / "a", f"sqlite:///{tmp_path / 'a' / 'ledger.db'}")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_backup(
            kept.database, kept.store.root, tmp_path / "second", kept.clock, with_objects=True,
            progress=stop,
        )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "backup"]
