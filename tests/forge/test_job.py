"""What a job shows: foreign text stays text, whatever it looks like."""

import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import UsageError
from lora_ci.forge.job import SUMMARY_BYTES, Job, annotation_commands
from lora_ci.report.annotations import Annotation

HOSTILE = "::set-output name=x::y\r\n::add-mask::a\n##[error]x %0A,file=b:c"


def note(**changes: object) -> Annotation:
    given = {"file": "a.txt", "line": 3, "level": "failure", "title": "r.one", "message": "wrong"}
    return Annotation(**(given | changes))


def test_an_annotation_is_a_line():
    lines = annotation_commands([note(), note(level="notice", message="a\n→ b")], Counter())
    assert lines == (
        "::error file=a.txt,line=3,title=r.one::wrong\n"
        "::notice file=a.txt,line=3,title=r.one::a%0A→ b\n"
    )


def test_foreign_text_starts_no_command_and_ends_no_field():
    line = annotation_commands([note(file=HOSTILE, title=HOSTILE, message=HOSTILE)], Counter())
    assert line.count("\n") == 1
    fields, _, message = line.removeprefix("::error ").partition("::")
    assert fields.count(",") == 2
    assert ":" not in fields
    assert message.startswith("::set-output")


@given(st.text(), st.text(), st.text())
def test_any_text_is_one_line_of_one_command(file, title, message):
    line = annotation_commands([note(file=file, title=title, message=message)], Counter())
    assert "\r" not in line
    assert line.index("\n") == len(line) - 1
    fields = line.removeprefix("::error ").partition("::")[0]
    assert [field.partition("=")[0] for field in fields.split(",")] == ["file", "line", "title"]


def test_a_job_shows_ten_of_a_level_and_each_once():
    log = io.StringIO()
    job = Job(commands=log)
    for _ in range(2):
        job.annotate([note(line=n) for n in range(1, 8)])
        job.annotate([note(line=n) for n in range(1, 20)])
    job.annotate([note(level="warning")])
    lines = log.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["::error"] * 10 + ["::warning"]
    assert len(set(lines)) == 11


def test_a_summary_is_replaced_section_by_section_and_cut(tmp_path):
    job = Job(summary=tmp_path / "summary.md")
    for text in ("old", "comment"):
        job.write_summary(text)
    job.write_summary("check", section="mei")
    assert (tmp_path / "summary.md").read_text() == "comment\n\ncheck"
    job.write_summary("ü long line\n" * 200_000, section="mei")
    data = (tmp_path / "summary.md").read_bytes()
    assert len(data) <= SUMMARY_BYTES
    assert data.decode().endswith("has the rest.\n")


@pytest.mark.parametrize("value", ["", "one\ntwo\n", "x=y", "ghadelimiter_", "ghadelimiter_1\nz=1"])
def test_outputs_hold_any_text(tmp_path, value):
    job = Job(output=tmp_path / "output", token=lambda: "f00d")
    job.set_output("plan", value)
    job.set_output("any", "true")
    end = "ghadelimiter_f00d"
    assert (tmp_path / "output").read_text() == (
        f"plan<<{end}\n{value}\n{end}\nany<<{end}\ntrue\n{end}\n"
    )


def test_the_line_that_ends_an_output_cannot_be_known(tmp_path):
    for name in ("a", "b"):
        Job(output=tmp_path / name).set_output("plan", "x")
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a=b", "1a", "a<<x"])
def test_names_of_outputs_are_names(name):
    with pytest.raises(UsageError):
        Job().set_output(name, "x")


def test_without_files_nothing_is_shown():
    job = Job()
    job.write_summary("x")
    job.annotate([note()])
    job.set_output("a", "b")
