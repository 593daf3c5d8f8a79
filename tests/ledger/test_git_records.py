"""What is read from a ref that anybody who may push can write to."""

import json
import subprocess
from dataclasses import replace
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.changes.git import Repository
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome, Stage
from lora_ci.ledger.git_records import MOST_FINDINGS, REF, GitRecords
from lora_ci.ledger.record_file import (
    MAX_BYTES,
    KeptRecord,
    RecordFile,
    UnusableRecordError,
    decode_record,
    encode_record,
    parse_name,
)
from lora_ci.ledger.record_tree import BY, add_to_tree, write_blobs
from lora_ci.plan.records import LayeredRecords
from tests.bare import make_hub
from tests.past import make_record
from tests.records import DictRecords

GOOD = make_record(1)


@pytest.fixture
def repo(tmp_path):
    return Repository(make_hub(tmp_path / "hub.git"))


def put(repo, *files: RecordFile) -> None:
    """Commits files on top of the ref."""
    commit = add_to_tree(repo, repo.find_commit(REF), write_blobs(repo, files))
    if commit:
        assert repo.git("update-ref", REF, commit).returncode == 0


def keep(repo, *records, kept_in=None) -> None:
    put(repo, *(encode_record(KeptRecord(record, kept_in)) for record in records))


def spoilt(change) -> RecordFile:
    """The file of a good record with another text."""
    file = encode_record(KeptRecord(make_record(2, lora="bad")))
    document = json.loads(file.data)
    change(document)
    return RecordFile(file.path, json.dumps(document).encode())


def test_no_ref_has_no_records(repo):
    records = GitRecords(repo)
    assert records.find(GOOD.fingerprint) is None
    assert records.passed(None, Stage.TRAIN) == records.finished_since("") == ()
    assert records.findings() == ()


def test_a_record_comes_out_as_it_went_in(repo):
    record = make_record(3, details={"grid": [1, 2.5, None, "é"]})
    keep(repo, record)
    assert GitRecords(repo).find(record.fingerprint) == record


def test_what_was_made_last_under_a_fingerprint_counts(repo):
    old = make_record(1, content="x")
    new = make_record(2, content="x", outcome=Outcome.FAILED)
    keep(repo, new, old)
    records = GitRecords(repo)
    assert records.find(old.fingerprint) == new
    assert records.passed("mei", Stage.TRAIN) == ()
    assert records.finished_since("") == (new,)


@pytest.mark.parametrize("turned", [False, True])
def test_two_of_the_same_moment_are_told_apart_alike_in_any_order(repo, turned):
    one, other = replace(GOOD, run_id="one"), replace(GOOD, run_id="other")
    first = max(
        one, other, key=lambda r: write_blobs(repo, [encode_record(KeptRecord(r))]).popitem()[1]
    )
    for record in (one, other)[:: -1 if turned else 1]:
        keep(repo, record)
    assert GitRecords(repo).find(GOOD.fingerprint) == first


def test_what_carries_an_artifact_is_known_once_its_record_was_read(repo):
    keep(repo, GOOD, kept_in="lora-ci-7-1-mei")
    records = GitRecords(repo)
    (artifact,) = records.find(GOOD.fingerprint).result.artifacts
    assert records.kept_in(artifact.sha256) == ("lora-ci-7-1-mei",)
    assert records.kept_in("0" * 64) == ()


def test_reading_goes_on_after_a_close(repo):
    keep(repo, GOOD, make_record(2))
    records = GitRecords(repo)
    assert records.find(make_record(2).fingerprint)
    records.close()
    assert records.find(GOOD.fingerprint)


def set_(*keys, to):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


BAD = encode_record(KeptRecord(make_record(2, lora="bad"))).path
HOSTILE = {
    "no JSON": RecordFile(BAD, b"{"),
    "no text": RecordFile(BAD, b"\xff\0"),
    "deep": RecordFile(BAD, b'{"format":1,"x":' + b"[" * 99999),
    "large": RecordFile(BAD, b" " * (MAX_BYTES + 1)),
    "newer": spoilt(set_("format", to=2)),
    "another's": spoilt(set_("record", "fingerprint", to="0" * 64)),
    "another LoRA": spoilt(set_("record", "lora", to="mei")),
    "climbing digest": spoilt(
        set_("record", "result", "artifacts", 0, "sha256", to="../../../etc/passwd")
    ),
    "climbing name": spoilt(set_("record", "result", "artifacts", 0, "name", to="../x")),
    "negative time": spoilt(set_("record", "result", "timings_s", "total", to=-1e9)),
    "run": spoilt(set_("record", "run_id", to="a b\n::error::")),
    "commit": spoilt(set_("record", "commit", to="\x1b[31m")),
    "carrier": spoilt(set_("kept_in", to="../x")),
    "no record": spoilt(set_("record", to=None)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_lora_ci_writes_is_refused(name):
    file = HOSTILE[name]
    with pytest.raises(UnusableRecordError):
        decode_record(parse_name(file.path), file.data)


def test_what_is_no_record_is_left_out_and_told(repo):
    keep(repo, GOOD)
    month = encode_record(KeptRecord(GOOD)).path.replace("2026-01/", "2026-02/")
    strays = [RecordFile("READ\x1b[31mME.md", b"hello"), RecordFile(month, b"{}")]
    put(repo, *strays, HOSTILE["large"])
    put(repo, *(RecordFile(f"2026-01/bad/{n}-{PurePath(BAD).name}", b"") for n in range(2)))
    records = GitRecords(repo)
    assert records.finished_since("") == (GOOD,)
    assert records.find(make_record(2, lora="bad").fingerprint) is None
    findings = records.findings()
    assert len(findings) == 5
    assert all(f.message.isprintable() for f in findings)
    assert all(f.hint.startswith("next: git ") for f in findings)


@pytest.mark.parametrize(("mode", "kind"), [("160000", "commit"), ("120000", "blob")])
def test_links_and_submodules_are_no_records(repo, mode, kind):
    file = encode_record(KeptRecord(GOOD))
    (oid,) = write_blobs(repo, [file]).values() if kind == "blob" else ("1" * 40,)
    given = f"{mode} {kind} {oid}\t{file.path.rpartition('/')[2]}\n"
    for name in ("mei", "2026-01", None):
        tree = repo.git("mktree", "--missing", given=given.encode()).stdout.decode().strip()
        given = f"040000 tree {tree}\t{name}\n"
    commit = repo.git("commit-tree", "-m", "x", tree, env=BY).stdout.decode().strip()
    records = GitRecords(repo, commit)
    assert records.find(GOOD.fingerprint) is None
    assert len(records.findings()) == 1


def test_a_damaged_newer_file_does_not_hide_an_older_record(repo):
    newer = encode_record(KeptRecord(make_record(5, content="1")))
    keep(repo, GOOD)
    put(repo, RecordFile(newer.path, b"{}"))
    records = GitRecords(repo)
    assert records.find(GOOD.fingerprint) == GOOD
    assert records.passed("mei", Stage.TRAIN) == (GOOD,)
    assert records.finished_since(make_record(3).finished_at) == ()


def test_thousands_of_strays_are_told_in_a_few_lines(repo):
    put(repo, *(RecordFile(f"stray-{n}", b"") for n in range(50)))
    records = GitRecords(repo)
    assert records.find(GOOD.fingerprint) is None
    assert len(records.findings()) == MOST_FINDINGS + 1
    assert "40 more files" in records.findings()[-1].message


def test_a_reader_that_is_killed_says_so_and_starts_anew(repo):
    keep(repo, GOOD, make_record(2))
    records = GitRecords(repo)
    assert records.find(make_record(2).fingerprint)
    process = records._blobs.__dict__["_process"]
    process.kill()
    process.wait()
    with pytest.raises(InfrastructureError, match="ended too early"):
        records.find(GOOD.fingerprint)
    assert records.find(GOOD.fingerprint)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_are_a_record_or_refused(data):
    name = parse_name(encode_record(KeptRecord(GOOD)).path)
    with pytest.raises(UnusableRecordError):
        decode_record(name, data)


@given(st.data())
def test_a_file_with_a_changed_byte_is_a_record_of_that_name_or_refused(data):
    file = encode_record(KeptRecord(GOOD, "lora-ci-1-1-mei"))
    name = parse_name(file.path)
    spot = data.draw(st.integers(0, len(file.data) - 1))
    changed = bytearray(file.data)
    changed[spot] = data.draw(st.integers(0, 255))
    try:
        kept = decode_record(name, bytes(changed))
    except UnusableRecordError:
        return
    assert kept.record.fingerprint == GOOD.fingerprint
    assert parse_name(encode_record(kept).path) == name


@given(st.text(max_size=200))
def test_no_name_is_read_that_would_not_be_written(path):
    name = parse_name(path)
    assert name is None or path.startswith(name.finished_at[:7])


def test_a_layer_that_knows_better_counts():
    old, new = make_record(1, content="x"), make_record(2, content="x", outcome=Outcome.FAILED)
    for layers in ((old, new), (new, old)):
        records = LayeredRecords(tuple(DictRecords([record]) for record in layers))
        assert records.find(old.fingerprint) == new
        assert records.passed("mei", Stage.TRAIN) == ()
        assert records.finished_since("") == (new,)


def test_reading_leaves_no_process(repo):
    keep(repo, GOOD)
    records = GitRecords(repo)
    records.find(GOOD.fingerprint)
    process: subprocess.Popen = records._blobs.__dict__["_process"]
    del records
    assert process.poll() is not None
