"""The files of a step say their format; those of another lora-ci are refused with what to do."""

import json

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome, Stage, StepInput, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder

SPEC = StepSpec(
    stage=Stage.TRAIN,
    lora="mei",
    fingerprint="f" * 64,
    inputs={"dataset": StepInput(content_id="d1", path="/data")},
    params={"settings": {"rank": 4}},
)
RESULT = StepResult(outcome=Outcome.PASSED, metrics={"steps": 4.0})


@pytest.fixture
def folder(tmp_path):
    folder = StepFolder(tmp_path / "step")
    folder.write_spec(SPEC)
    folder.write_result(SPEC.fingerprint, RESULT)
    return folder


def test_what_is_written_is_read(folder):
    assert folder.read_spec() == SPEC
    assert folder.read_result(SPEC.fingerprint) == RESULT


@pytest.mark.parametrize("name", ["spec.json", "result.json"])
@pytest.mark.parametrize(
    ("found", "said", "hint"),
    [
        (2, "format 2, from a newer lora-ci", "next: pip install --upgrade lora-ci"),
        (None, "format 0, from an older lora-ci", "next: rm "),
    ],
)
def test_another_format_is_refused(folder, name, found, said, hint):
    path = folder.path / name
    stored = json.loads(path.read_bytes())
    assert stored.pop("format") == 1
    path.write_text(json.dumps(stored if found is None else {**stored, "format": found}))
    with pytest.raises(InfrastructureError, match=said) as error:
        folder.read_spec() if name == "spec.json" else folder.read_result(SPEC.fingerprint)
    assert hint in error.value.findings[0].hint
