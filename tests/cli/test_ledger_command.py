"""`lora-ci ledger`, as people type it."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from lora_ci.core.digest import sha256_bytes
from lora_ci.core.step import Stage
from tests.command import assert_one_message, lora_ci
from tests.ledger.kept import ADAPTER, Kept
from tests.ledgers import new_ledger

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_named_ledger(monkeypatch):
    for name in ("LORA_CI_LEDGER_URL", "LORA_CI_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(tmp_path) -> Path:
    """A state folder with two trainings of old, of which a matrix made one, and a new one."""
    kept = Kept(tmp_path / "state", new_ledger(tmp_path / "state"))
    for name, lora, days_ago in (
        ("a", "mei.rank-8", 2000),
        ("b", "mei", 2000),
        ("c", "kai", -20_000),
    ):
        kept.step(kept.run(name, days_ago), lora, Stage.TRAIN, days_ago, {ADAPTER: name.encode()})
    kept.database.close()
    return tmp_path / "state"


def told(capsys, *words: object) -> tuple[int, dict]:
    """The exit code of an action, and what it printed as JSON."""
    code = main(["ledger", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_check_gc_and_check_again(state, capsys):
    code, value = told(capsys, "check", "--state", state, "--deep")
    assert (code, value["schema"], value["sound"], value["objects"]) == (
        0, "lora-ci.ledger-check/1", True, 6,
    )  # fmt: skip
    code, value = told(capsys, "gc", "--state", state, "--dry-run")
    assert (value["dry_run"], value["runs"], value["records"], value["objects"]) == (True, 2, 1, 3)
    code, value = told(capsys, "gc", "--state", state)
    assert (code, value["schema"], value["objects"]) == (0, "lora-ci.ledger-gc/1", 3)
    assert value["object_bytes"] == len(b"a" + b"log of mei" + b"log of mei.rank-8")
    code, value = told(capsys, "check", "--state", state, "--deep")
    assert value["sound"]
    assert value["objects"] == 3


@pytest.mark.parametrize("other", ["steps.db", "damaged/ledger.db"])
def test_a_store_that_another_ledger_uses_is_left_alone(state, capsys, other):
    (state / other).parent.mkdir(exist_ok=True)
    (state / other).touch()
    _, value = told(capsys, "gc", "--state", state)
    assert (value["objects"], value["left_for_others"], value["records"]) == (0, 3, 1)
    _, value = told(capsys, "gc", "--state", state, "--store-is-ours")
    assert value["objects"] == 3


def test_an_empty_ledger_takes_nothing_from_a_store_that_was_there(state, capsys):
    (state / "ledger.db").unlink()
    new_ledger(state)
    for path in (state / "objects").glob("*/*"):
        os.utime(path, (0, 0))
    _, value = told(capsys, "gc", "--state", state)
    assert (value["objects"], value["left_for_others"]) == (0, 6)


def test_a_named_store_is_left_alone(state, tmp_path, capsys, monkeypatch):
    (state / "objects").rename(tmp_path / "shared")
    _, value = told(capsys, "gc", "--state", state, "--store", tmp_path / "shared")
    assert (value["objects"], value["left_for_others"]) == (0, 3)


def test_pin_and_unpin(state, capsys):
    sha256 = sha256_bytes(b"a")
    code, value = told(capsys, "pin", sha256[:12], "--state", state, "--why", "for the paper")
    assert (code, value["sha256"]) == (0, sha256)
    _, value = told(capsys, "gc", "--state", state)
    assert value["records"] == 0
    _, value = told(capsys, "check", "--state", state)
    assert [(pin["sha256"], pin["why"]) for pin in value["pins"]] == [(sha256, "for the paper")]
    assert told(capsys, "unpin", sha256[:8], "--state", state)[0] == 0
    _, value = told(capsys, "check", "--state", state)
    assert value["pins"] == []


@pytest.mark.parametrize("digest", ["mei", "0000000", "00000000", "A" * 8])
def test_what_cannot_be_pinned_is_told(state, capsys, digest):
    code, value = told(capsys, "pin", digest, "--state", state, "--why", "x")
    assert code == 2
    assert value["findings"][0]["hint"]


def test_backup_and_restore(state, tmp_path, capsys):
    target, other = tmp_path / "backup", tmp_path / "other"
    code, value = told(capsys, "backup", target, "--state", state, "--with-objects")
    assert (code, value["schema"], value["objects"]) == (0, "lora-ci.ledger-backup/1", 6)
    code, value = told(capsys, "restore", target, "--state", other)
    assert (code, value["objects"], value["absent"], value["interrupted"]) == (0, 6, 0, 0)
    assert (other / ".gitignore").read_text() == "*\n"
    assert told(capsys, "check", "--state", other, "--deep")[1]["sound"]
    code, value = told(capsys, "restore", target, "--state", other)
    assert code == 2


def test_export(state, capsys):
    assert main(["ledger", "export", "--state", str(state)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [row["kind"] for row in rows]
    assert kinds == ["run"] * 3 + ["record"] * 3 + ["attempt"] * 3
    assert main(["ledger", "export", "--state", str(state), "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert {row["lora"] for row in table if row["kind"] == "record"} == {"mei", "mei.rank-8", "kai"}
    _, value = told(capsys, "export", "--state", state, "--since", "2026-01-01")
    assert [row["kind"] for row in value["rows"]] == ["run", "record", "attempt"]
    assert value["rows"][2]["gpu_s"] == 0


def test_where_nothing_was_run_no_ledger_is_made(tmp_path):
    for words in (["check"], ["gc"], ["backup", "b"], ["export"]):
        told = lora_ci(tmp_path, "ledger", *words)
        assert_one_message(told, 2, "there is no ledger")
        told = lora_ci(tmp_path, "ledger", *words, "--ledger-url", f"sqlite:///{tmp_path}/a/b.db")
        assert_one_message(told, 2, f"there is no ledger {tmp_path}/a/b.db")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_ledger_is_a_failure_of_the_machine(state):
    (state / "ledger.db").write_bytes(b"no database at all" * 1000)
    assert_one_message(lora_ci(state, "ledger", "check", "--state", "."), 4, "not a database")


def test_it_says_what_it_can_do():
    told = lora_ci(Path(), "ledger", "--help")
    assert told.code == 0
    for action in ("check", "gc", "pin", "unpin", "backup", "restore", "export"):
        assert f"    {action} " in told.out
