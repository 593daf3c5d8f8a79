"""An adapter file judged with no repository, as a user types it: one real judgement for all."""

import json
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lora_ci.cli.main import main
from tests.command import Told, assert_one_message, end, lora_ci, start
from tests.lone_world import METADATA, Question, new_question, write_changed, write_file

pytestmark = pytest.mark.slow

VERDICTS = {"passed": 0, "failed": 1, "inconclusive": 3}


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged first, and what was said."""

    question: Question
    adapter: Path
    out: Path
    told: Told


def qa_of(out: Path) -> dict:
    """The stage in the report of a folder."""
    (lora,) = json.loads((out / "report.json").read_text())["loras"].values()
    return lora["stages"]["qa"]


def drawn_in(out: Path) -> dict[str, int]:
    """How many pictures the judgement of a folder found, and how many it made."""
    (result,) = out.glob("steps/*/result.json")
    return json.loads(result.read_text())["result"]["details"]["drawn"]


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Judged:
    root = tmp_path_factory.mktemp("lone")
    question = new_question(root)
    adapter = write_file(root / "my style (v2) & more.safetensors")
    out = root / "out"
    words = question.words(adapter, "--out", str(out), "--junit", str(root / "ci.xml"))
    return Judged(question, adapter, out, lora_ci(root, *words))


def test_the_verdict_is_told_and_is_the_exit_code(judged):
    found = json.loads((judged.out / "report.json").read_text())
    assert judged.told.code == VERDICTS[found["outcome"]]
    head = judged.told.out.splitlines()[0]
    assert head.endswith(f"{found['outcome']}: my style (v2) & more")
    for test in ("identity", "flexibility", "artifact", "consistency", "performance", "overall"):
        assert f" {test} " in judged.told.out
    assert f"report: {judged.out / 'report.html'}" in judged.told.err


def test_page_json_and_junit_are_written(judged):
    page = (judged.out / "report.html").read_text()
    assert "my style (v2) &amp; more" in page
    assert "data:image/" in page
    qa = qa_of(judged.out)
    assert drawn_in(judged.out) == {"kept": 0, "made": 2 * (3 + 1 + 1) * 2}
    assert len(qa["details"]["ruler"]) == 64
    for file in (judged.out / "junit.xml", judged.question.root / "ci.xml"):
        suite = ElementTree.parse(file).getroot().find("testsuite")
        assert suite.get("name") == "my style (v2) & more"


def test_the_same_question_is_answered_from_the_record(judged):
    (result,) = judged.out.glob("steps/*/result.json")
    before = result.stat().st_mtime_ns
    words = judged.question.words(judged.adapter, "--out", str(judged.out), "--json")
    told = lora_ci(judged.question.root, *words)
    view = json.loads(told.out)
    (step,) = view["steps"]
    assert (view["schema"], told.code) == ("lora-ci.run/1", judged.told.code)
    assert step["decision"]["action"] == "reuse"
    assert result.stat().st_mtime_ns == before
    assert len(list(judged.out.glob("steps/*"))) == 1


def test_its_folder_is_one_that_other_commands_know(judged):
    state = ("--state", str(judged.out))
    asking = start(judged.question.root, "qa", "review", *state, "--voter", "Ann", "--json")
    try:
        assert "open http://127.0.0.1:" in asking.stderr.readline()
    finally:
        os.killpg(asking.pid, signal.SIGINT)
    told = end(asking)
    assert (told.code, json.loads(told.out)["lora"]) == (0, "my style (v2) & more")
    page = judged.out / "report.html"
    before = page.read_text()
    page.unlink()
    shown = lora_ci(judged.question.root, "report", *state)
    assert (shown.code, shown.out.strip()) == (0, str(page))
    assert page.read_text() == before
    same = lora_ci(judged.question.root, "qa", "compare", str(judged.out), str(judged.out))
    assert same.code == 0
    assert "overall" in same.out or "sound" in same.out


def test_another_file_for_the_base_draws_no_picture_of_the_base(judged, tmp_path):
    """It is the same adapter as kohya's tools write it."""
    kohya = tmp_path / "kohya.safetensors"
    assert lora_ci(tmp_path, "formats", "convert", str(judged.adapter), str(kohya), "--to", "kohya")
    out = tmp_path / "out"
    told = lora_ci(tmp_path, *judged.question.words(kohya, "--out", str(out)))
    assert told.code == judged.told.code
    one, other = qa_of(judged.out), qa_of(out)
    assert drawn_in(out) == {"kept": 10, "made": 10}
    assert one["details"]["ruler"] == other["details"]["ruler"]
    for name in ("loss.against-base", "variety", "sound"):
        assert math.isclose(one["metrics"][name], other["metrics"][name], abs_tol=0.02)


@pytest.fixture
def typed(judged, tmp_path, capsys):
    """Types the question about a file, here in this process."""

    def run(adapter: Path, *further: str) -> Told:
        code = main(judged.question.words(adapter, "--out", str(tmp_path / "out"), *further))
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return run


FAULTS = {
    "nothing learned": (lambda up: up * 0, "does nothing", "train it for longer"),
    "not a number": (lambda up: up * math.nan, "broken.safetensors: layer", "infinite values"),
    "another base": (lambda up: up.repeat(2, 1), "the base has", "inspect FILE"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_that_breaks_the_contract_fails_before_any_picture(
    typed, judged, tmp_path, fault
):
    change, *messages = FAULTS[fault]
    broken = write_changed(judged.adapter, tmp_path / "broken.safetensors", change, METADATA)
    told = typed(broken)
    assert told.code == 1, told.err
    assert "failed: broken" in told.out
    assert all(message in told.err for message in messages), told.err
    assert not qa_of(tmp_path / "out").get("metrics")


def test_a_file_that_is_no_adapter(typed, tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    told = typed(text)
    assert told.code == 1
    assert "text.safetensors: not a safetensors file" in told.err
    whole = write_file(tmp_path / "whole.safetensors").read_bytes()
    text.write_bytes(whole[: len(whole) // 2])
    told = typed(text, "--trigger", "fluent3d")
    assert told.code == 1
    assert "text.safetensors" in told.err


def test_a_folder_that_is_no_base(typed, judged):
    told = typed(judged.adapter, "--base", str(judged.question.root / "references"))
    assert told.code == 1
    assert "not a base model in diffusers format" in told.err


def test_a_trigger_that_nobody_names(typed, judged, tmp_path):
    nameless = write_changed(judged.adapter, tmp_path / "nameless.safetensors", abs, {})
    assert_one_message(typed(nameless), 2, "nameless.safetensors names no trigger", "--trigger")


def test_a_full_disk_is_told_and_with_room_the_same_command_goes_on(judged, tmp_path):
    words = judged.question.words(judged.adapter, "--out", str(tmp_path / "out"), "--quiet")
    full = lora_ci(tmp_path, *words, max_file_bytes=8192)
    assert_one_message(full, 4, "df -h")
    again = lora_ci(tmp_path, *words)
    assert again.code == judged.told.code
    assert drawn_in(tmp_path / "out") == {"kept": 20, "made": 0}


def pictures(question: Question) -> int:
    return len(list((question.root / "cache").rglob("*.picture")))


def test_stopped_by_either_signal_the_same_command_goes_on_from_its_pictures(judged, tmp_path):
    """Other sampler steps: none of the pictures is there.

    So many prompts that each signal comes while there is still much to draw.
    """
    more = [f"--base-prompt=a flat emoji of {n} foxes" for n in range(2, 18)]
    words = judged.question.words(judged.adapter, "--out", str(tmp_path / "out"), *more, steps=4)
    counts = [pictures(judged.question)]
    for number in (signal.SIGINT, signal.SIGTERM):
        stopped = start(tmp_path, *words)
        deadline = time.monotonic() + 150
        while pictures(judged.question) == counts[-1] and stopped.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(stopped.pid, number)
        told = end(stopped)
        assert told.code == 130, told.err
        counts.append(pictures(judged.question))
        if number is signal.SIGINT:
            assert "the same command goes on where it stopped" in told.err
            assert "interrupted" in told.out
    assert lora_ci(tmp_path, *words).code in VERDICTS.values()
    drawn = drawn_in(tmp_path / "out")
    assert drawn["kept"] >= counts[1] - counts[0] > 0
    assert drawn["kept"] + drawn["made"] == 20 + 4 * len(more)
