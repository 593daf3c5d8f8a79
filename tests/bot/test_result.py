"""What a process printed → how it ended."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.bot.result import read_end
from lora_ci.bot.runner import Ending

NOTE = {"rule": "publish.failed", "severity": "warning", "message": "no network"}
EXPIRED = {"rule": "github.comment", "severity": "warning", "message": "GitHub says 401 Bad"}
LESSER = {"rule": "github.check", "severity": "warning", "message": "GitHub says 403 No"}
WRONG = {"rule": "lora-ci.usage", "severity": "error", "message": "no config"}


def run(outcome, *notes):
    return {"schema": "lora-ci.run/1", "run_id": "r-1", "outcome": outcome, "notes": list(notes)}


@pytest.mark.parametrize(
    ("printed", "ending", "note"),
    [
        (run("passed"), Ending.DONE, "passed"),
        (run("failed", LESSER), Ending.DONE, "failed"),
        (run("error"), Ending.DONE, "error"),
        (run("interrupted"), Ending.STOPPED, "interrupted"),
        (run("passed", NOTE), Ending.UNSHOWN, "passed; no network"),
        (run("failed", EXPIRED), Ending.UNSHOWN, "failed; GitHub says 401 Bad"),
        ({"schema": "lora-ci.report/1", "run": "r-1", "notes": []}, Ending.DONE, "shown again"),
        ({"schema": "lora-ci.nothing/1", "nothing": "why"}, Ending.DONE, "why"),
        (
            {"schema": "lora-ci.error/1", "error": "lora-ci.usage", "findings": [WRONG]},
            Ending.DONE,
            "no config",
        ),
        (
            {"schema": "lora-ci.error/1", "error": "github.unreachable", "findings": []},
            Ending.BLOCKED,
            "github.unreachable",
        ),
    ],
)
def test_what_was_printed(tmp_path, printed, ending, note):
    (tmp_path / "result.json").write_text(json.dumps(printed))
    end = read_end(tmp_path / "result.json")
    assert (end.ending, end.note) == (ending, note)


def test_no_file_is_lost(tmp_path):
    assert read_end(tmp_path / "none").ending is Ending.LOST


@given(st.binary(), st.integers(0, 70))
def test_half_a_result_is_lost(tmp_path_factory, data, length):
    file = tmp_path_factory.getbasetemp() / "half.json"
    for content in (data, json.dumps(run("passed")).encode()[:length]):
        file.write_bytes(content)
        assert read_end(file).ending is Ending.LOST
