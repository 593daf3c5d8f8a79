"""`qa compare`: two reports, metric by metric, by one ruler; whatever the files hold."""

import json
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from lora_ci.cli.qa_compare import MAX_BYTES
from tests.command import Told, assert_one_message

RULER, OTHER = "1" * 64, "2" * 64


def report(folder: Path, *, ruler: str = RULER, lora: str = "mei", **changes: object) -> Path:
    """The report of one judgement; `changes` are of its stage."""
    stage = {
        "outcome": "passed",
        "metrics": {"identity": 0.7, "overall": 0.9},
        "details": {"ruler": ruler, "embedder": "classic:", "error": 0.05},
        **changes,
    }
    return write(folder, {"version": 1, "loras": {lora: {"stages": {"qa": stage}}}})


def write(folder: Path, value: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "report.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


@pytest.fixture
def compared(capsys):
    def run(*words: object) -> Told:
        code = main(["qa", "compare", *map(str, words)])
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return run


def test_metric_by_metric_and_what_one_has_not(compared, tmp_path):
    one = report(tmp_path / "a")
    report(tmp_path / "b", metrics={"identity": 0.65, "leakage": 0.1}, lora="zoe")
    told = compared(one, tmp_path / "b")
    assert (told.code, told.err) == (0, "")
    rows = {row.split()[0]: row.split()[1:] for row in told.out.splitlines()}
    assert rows["identity"] == ["0.700", "0.650", "-0.050"]
    assert rows["leakage"] == ["–", "0.100"]
    assert rows["overall"] == ["0.900", "–"]
    found = json.loads(compared(one, tmp_path / "b", "--json").out)
    assert (found["schema"], found["a"], found["b"]) == ("lora-ci.qa-compare/1", "mei", "zoe")
    alone = {"low": None, "high": None}
    assert found["metrics"]["identity"] == {
        "a": {"value": 0.7, **alone},
        "b": {"value": 0.65, **alone},
    }
    assert found["ruler"] == RULER


def test_intervals_are_told_where_the_report_has_them(compared, tmp_path):
    details = {
        "ruler": RULER,
        "gates": [
            {"metric": "identity", "condition": ">= 0.5", "outcome": "passed", "value": 0.7,
             "low": 0.61, "high": 0.79, "why": ""},
        ],
        "tests": [{"name": "artifact", "score": 0.8, "low": 0.7, "high": 0.9, "why": ""}],
        "overall": {"score": 0.9, "low": 0.85, "high": None, "pass_mark": 0.8},
    }  # fmt: skip
    metrics = {"identity": 0.7, "score.artifact": 0.8, "overall": 0.9, "power": 2.5}
    one = report(tmp_path / "a", details=details, metrics=metrics)
    told = compared(one, one).out
    assert "identity        0.700 (0.610 to 0.790)  0.700 (0.610 to 0.790)  +0.000" in told
    assert "0.800 (0.700 to 0.900)" in told
    assert "power           2.500  " in told
    assert "0.900 (" not in told


def test_different_rulers_are_refused_and_what_differs_is_named(compared, tmp_path):
    one = report(tmp_path / "a")
    details = {"ruler": OTHER, "embedder": "path:clip", "error": 0.05}
    other = report(tmp_path / "b", details=details)
    told = compared(one, other)
    assert_one_message(
        told, 2, RULER[:12], OTHER[:12], "embedder", "lora-ci qa rejudge --all", "--out"
    )
    assert told.out == ""
    assert "error)" not in told.err
    unknown = report(tmp_path / "c", ruler="3" * 64)
    assert_one_message(compared(one, unknown), 2, "prompts, references")


def test_of_several_loras_one_is_chosen(compared, tmp_path):
    one = report(tmp_path / "a")
    both = json.loads(one.read_text())
    both["loras"]["zoe"] = {"stages": {"train": {"outcome": "passed"}}}
    assert compared(one, write(tmp_path / "b", both)).code == 0
    both["loras"]["tom"] = both["loras"]["mei"]
    several = write(tmp_path / "c", both)
    assert_one_message(compared(one, several), 2, "2 judgements", "--lora", "mei, zoe, tom")
    assert compared(several, several, "--lora", "tom").code == 0
    assert_one_message(compared(several, one, "--lora", "zoe"), 2, "0 judgements")


HOSTILE = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "no LoRAs": "{}",
    "LoRAs that are a list": '{"loras": []}',
    "LoRAs that are texts": '{"loras": {"mei": "good"}}',
    "a stage that is a text": '{"loras": {"mei": {"stages": {"qa": "good"}}}}',
    "stages that are none": '{"loras": {"mei": {"stages": null}}}',
    "no details": '{"loras": {"mei": {"stages": {"qa": {"metrics": {}}}}}}',
    "details that are a list": '{"loras": {"mei": {"stages": {"qa": {"details": [1]}}}}}',
    "no ruler": '{"loras": {"mei": {"stages": {"qa": {"metrics": {}, "details": {}}}}}}',
    "metrics that are texts": (
        '{"loras": {"mei": {"stages": {"qa": '
        '{"metrics": {"identity": "high"}, "details": {"ruler": "1"}}}}}}'
    ),
    "a number that is none": (
        '{"loras": {"mei": {"stages": {"qa": '
        '{"metrics": {"identity": NaN}, "details": {"ruler": "1"}}}}}}'
    ),
    "nested beyond measure": "[" * 100_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_that_are_no_report(compared, tmp_path, case):
    hostile = write(tmp_path / "b", HOSTILE[case])
    assert_one_message(compared(report(tmp_path / "a"), hostile), 2, str(hostile))


def test_files_that_are_not_there_or_too_large(compared, tmp_path):
    one = report(tmp_path / "a")
    assert_one_message(compared(one, tmp_path / "no"), 2, "no", "No such file")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    assert_one_message(compared(one, tmp_path / "binary"), 2, "binary")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert_one_message(compared(one, large), 2, "too large")


def test_texts_of_a_report_cannot_command_the_terminal(compared, tmp_path):
    wild = "\x1b[2J\u202eytitnedi"
    one = report(tmp_path / "a", metrics={wild: 0.5}, lora=wild)
    told = compared(one, one)
    assert told.code == 0
    assert not {"\x1b", "\u202e"} & set(told.out)
    other = report(tmp_path / "b", ruler="\x1b[2J")
    assert "\x1b" not in compared(one, other).err
