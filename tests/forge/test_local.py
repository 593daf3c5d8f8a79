"""The folder forge: every call may be made again, and no name leaves the folder."""

import json
from pathlib import Path

import pytest

from lora_ci.core.errors import InputError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Check, ReleaseDraft
from lora_ci.forge.local import LocalForge, file_name
from lora_ci.report.annotations import to_annotations

NAMES = ["../../evil", "..", ".", ".hidden", "a/b", "lora-ci / mei", "mei@v1.0.0", "", "a%2Fb", "ü"]


@pytest.fixture
def forge(tmp_path):
    return LocalForge(tmp_path / "forge")


def make_check(name="lora-ci / mei", findings=()):
    return Check(
        head="3f2a1c9",
        name=name,
        outcome=Outcome.FAILED,
        title="failed qa",
        summary="| a |",
        annotations=to_annotations(findings),
    )


def draft(tag, notes, files):
    return ReleaseDraft(tag=tag, commit="3f2a1c9", title="mei 1.0.0", notes=notes, files=files)


def test_a_picture_opens_from_where_the_comment_lies(forge):
    address = forge.publish_picture("mei-grid.png", b"picture")
    assert forge.publish_picture("kit-grid.png", b"picture") == address
    forge.upsert_comment(7, f"![]({address})")
    comment = forge.folder / "pulls" / "7" / "comment.md"
    assert (comment.parent / address).resolve().read_bytes() == b"picture"


def test_a_check_holds_the_findings_of_files_errors_first(forge):
    findings = [
        Finding(rule="r.info", severity=Severity.INFO, message="m", file="a.txt", hint="do"),
        Finding(rule="r.nowhere", severity=Severity.ERROR, message="no file"),
        Finding(rule="r.error", severity=Severity.ERROR, message="m\x1b", file="b.txt", line=3),
    ]
    forge.publish_check(make_check())
    forge.publish_check(make_check(findings=findings))
    (path,) = (forge.folder / "checks" / "3f2a1c9").iterdir()
    body = json.loads(path.read_text())
    assert (body["name"], body["outcome"], body["title"]) == (
        "lora-ci / mei",
        "failed",
        "failed qa",
    )
    assert body["annotations"] == [
        {"file": "b.txt", "line": 3, "level": "failure", "title": "r.error", "message": "m�"},
        {"file": "a.txt", "line": 1, "level": "notice", "title": "r.info", "message": "m\n→ do"},
    ]


def test_a_release_has_notes_and_files(forge, tmp_path):
    source = tmp_path / "object"
    source.write_bytes(b"weights")
    files = {"adapter.safetensors": source}
    forge.publish_release(draft("mei@v1.0.0", "old", files))
    address = forge.publish_release(draft("mei@v1.0.0", "new", files))
    place = forge.folder / "releases" / "mei@v1.0.0"
    assert address == (place / "notes.md").as_uri()
    assert "new" in (place / "notes.md").read_text()
    assert (place / "files" / "adapter.safetensors").read_bytes() == b"weights"
    assert sorted(p.name for p in place.rglob("*")) == ["adapter.safetensors", "files", "notes.md"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leaves_the_folder(forge, tmp_path, name):
    source = tmp_path / "object"
    source.write_bytes(b"x")
    forge.publish_report(name, "page", "{}")
    forge.publish_check(make_check(name))
    forge.publish_release(draft(name, "n", {name: source}))
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - {source}
    assert len(made) == 5
    assert all(p.is_relative_to(forge.folder) for p in made)
    assert {p.relative_to(forge.folder).parts[0] for p in made} == {"reports", "checks", "releases"}


def test_different_names_stay_different():
    assert len({file_name(name) for name in NAMES}) == len(NAMES)
    assert all(len(Path(file_name(name)).parts) == 1 for name in NAMES)


def test_a_yanked_release_says_so_on_top_and_only_once(forge):
    forge.publish_release(draft("mei@v1.0.0", "the notes", {}))
    for reason in ("`mei` draws @everyone", "wrong dataset"):
        forge.mark_yanked("mei@v1.0.0", reason)
    notes = (forge.folder / "releases" / "mei@v1.0.0" / "notes.md").read_text()
    assert notes.count("Yanked: do not use") == 1
    assert "wrong dataset" in notes
    assert "the notes" in notes
    with pytest.raises(InputError):
        forge.mark_yanked("kit@v1.0.0", "never released")
