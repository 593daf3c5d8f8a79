"""What the step `validate` makes of scanners: found is failed, unknown is no verdict."""

import json
import shutil
from pathlib import Path

import pytest

from lora_ci.core.settings import ValidateSettings, settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from tests.clamav import EICAR, clamd, needs_clamd
from tests.command import lora_ci
from tests.tiny_embedders import write_program

pytestmark = pytest.mark.slow

PICTURES = Path(__file__).parents[2] / "examples" / "emoji" / "pictures" / "fluent3d"
RULE = "rule odd_bytes { strings: $a = { %s } condition: $a }"
FLAGS = """
import json, sys
for line in sys.stdin:
    labels = [["gore"]] + [[]] * (len(json.loads(line)["pictures"]) - 1)
    print(json.dumps({"labels": labels}), flush=True)
"""


@pytest.fixture
def dataset(tmp_path):
    """Eight good pictures with captions."""
    folder = tmp_path / "set"
    folder.mkdir()
    for path in sorted(PICTURES.glob("*.png"))[:8]:
        shutil.copy(path, folder)
        shutil.copy(path.with_suffix(".txt"), folder)
    return folder


def validated(dataset, *, rules=None, kind="style", **settings):
    """The result of the step."""
    place = dataset.parent
    inputs = {"dataset": StepInput(content_id="1", path=str(dataset))}
    if rules:
        inputs["rules"] = StepInput(content_id="2", path=str(rules))
    spec = StepSpec(
        stage=Stage.VALIDATE,
        lora="mei",
        fingerprint="f" * 64,
        inputs=inputs,
        params={
            "settings": settings_json(ValidateSettings(**settings)),
            "trigger": "fluent3d",
            "type": kind,
            "dataset": "data/mei",
            "missing": [],
        },
    )
    shutil.rmtree(place / "step", ignore_errors=True)
    folder = StepFolder(place / "step")
    folder.write_spec(spec)
    return exec_step(folder, LocalStore(place / "store"), place / "cache")


def told(result):
    return {(f.rule, f.file) for f in result.findings if f.severity != "info"}


def test_without_scanners_all_is_as_it_was(dataset):
    assert validated(dataset).outcome is Outcome.PASSED


def test_a_required_scanner_that_is_nowhere_is_an_error(dataset):
    result = validated(dataset, antivirus="required")
    assert result.outcome is Outcome.ERROR
    assert told(result) == {("scan.not-there", None)}


@pytest.mark.parametrize("antivirus", ["required", "if-available"])
def test_one_that_does_not_answer_is_an_error(dataset, monkeypatch, antivirus):
    monkeypatch.setenv("LORA_CI_CLAMD", "unix:/nowhere/clamd.ctl")
    result = validated(dataset, antivirus=antivirus)
    assert result.outcome is Outcome.ERROR
    assert told(result) == {("scan.fails", None)}


def test_off_asks_nobody(dataset, monkeypatch):
    monkeypatch.setenv("LORA_CI_CLAMD", "unix:/nowhere/clamd.ctl")
    assert validated(dataset, antivirus="off").outcome is Outcome.PASSED


def test_rules_of_the_repository_and_of_the_operator_both_count(dataset, tmp_path, monkeypatch):
    for name, data in {"ours": b"abcdef", "theirs": b"ghijkl"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yar").write_text(RULE % data.hex())
    monkeypatch.setenv("LORA_CI_YARA", str(tmp_path / "theirs"))
    caption = next(dataset.glob("*.txt"))
    for data in (b"abcdef", b"ghijkl"):
        caption.write_bytes(b"fluent3d " + data)
        result = validated(dataset, rules=tmp_path / "ours")
        assert result.outcome is Outcome.FAILED
        assert told(result) == {("scan.found", f"data/mei/{caption.name}")}
    caption.write_bytes(b"fluent3d, a crab")
    assert validated(dataset, rules=tmp_path / "ours").outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ("block", Outcome.FAILED),
        ("review", Outcome.INCONCLUSIVE),
        ("off", Outcome.PASSED),
    ],
)
def test_the_policy_says_what_a_flagged_picture_is(dataset, policy, outcome):
    spec = write_program(dataset.parent / "program", FLAGS)
    result = validated(dataset, content=spec, content_policy=policy)
    assert result.outcome is outcome
    assert result.metrics["errors"] == (policy == "block")


def test_a_scanner_that_breaks_is_an_error(dataset):
    spec = write_program(dataset.parent / "program", "raise SystemExit(3)")
    for policy in ("block", "review"):
        result = validated(dataset, content=spec, content_policy=policy)
        assert result.outcome is Outcome.ERROR


def test_consent_is_asked_of_characters(dataset):
    assert validated(dataset, kind="character").outcome is Outcome.PASSED
    result = validated(dataset, kind="character", consent="required")
    assert told(result) == {("consent.missing", "data/mei/datasheet.yml")}
    assert validated(dataset, consent="required").outcome is Outcome.PASSED
    (dataset / "datasheet.yml").write_text("consent: all drawn, nobody is shown\n")
    result = validated(dataset, kind="character", consent="required")
    assert (result.outcome, told(result)) == (Outcome.PASSED, set())


class TestRealDaemon:
    """ClamAV itself."""

    pytestmark = needs_clamd

    def test_a_file_that_it_knows_fails_the_dataset(self, dataset, monkeypatch):
        with clamd() as running:
            monkeypatch.setenv("LORA_CI_CLAMD", running.address)
            assert validated(dataset, antivirus="required").outcome is Outcome.PASSED
            picture = sorted(dataset.glob("*.png"))[3]
            picture.write_bytes(picture.read_bytes() + EICAR)
            result = validated(dataset, antivirus="required")
            assert result.outcome is Outcome.FAILED
            assert told(result) == {("scan.found", f"data/mei/{picture.name}")}
        result = validated(dataset, antivirus="required")
        assert result.outcome is Outcome.ERROR


def test_the_command_scans_too(dataset, tmp_path, monkeypatch):
    (tmp_path / "a.yar").write_text(RULE % b"abcdef".hex())
    monkeypatch.setenv("LORA_CI_YARA", str(tmp_path / "a.yar"))
    command = ("dataset", "validate", str(dataset), "--trigger", "fluent3d", "--json")
    assert lora_ci(tmp_path, *command).code == 0
    caption = next(dataset.glob("*.txt"))
    caption.write_text("fluent3d abcdef")
    told = lora_ci(tmp_path, *command)
    assert told.code == 1
    (found,) = json.loads(told.out)["findings"]
    assert (found["rule"], found["file"]) == ("scan.found", str(caption))
    monkeypatch.setenv("LORA_CI_CLAMD", "nonsense")
    assert lora_ci(tmp_path, *command).code == 2


def test_a_damaged_picture_fails_the_dataset_and_is_not_shown(dataset):
    spec = write_program(dataset.parent / "program", FLAGS)
    for name in ("whole.png", "turned\u202e.png"):
        (dataset / name).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    result = validated(dataset, content=spec)
    assert result.outcome is Outcome.FAILED
    assert "content.blocked" in {f.rule for f in result.findings}
