"""What a step's process prints is its log: how far it was, what was wrong, how it ended."""

import re

import pytest

from lora_ci.cli.main import main
from lora_ci.core.step import Stage, StepSpec
from lora_ci.steps import table
from lora_ci.steps.folder import StepFolder


@pytest.fixture
def folder(tmp_path, monkeypatch) -> StepFolder:
    for stage in Stage:
        monkeypatch.setitem(table.TABLE, stage, "tests.cli.batch_toy:run")
    return StepFolder(tmp_path / "step")


def execute(folder: StepFolder, capfd, trigger: str = "mei") -> tuple[int, str]:
    spec = StepSpec(
        stage=Stage.TRAIN, lora="mei", fingerprint="a" * 64, inputs={}, params={"trigger": trigger}
    )
    folder.write_spec(spec)
    root = folder.path.parent
    places = ["--store", str(root / "objects"), "--cache", str(root / "cache")]
    code = main(["exec-step", str(folder.path), *places])
    return code, capfd.readouterr().err


def test_a_log_says_how_far_a_step_was_and_how_it_ended(folder, capfd):
    code, err = execute(folder, capfd)
    lines = err.splitlines()
    assert code == 0
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ train of mei ", line) for line in lines)
    assert "begins on" in lines[0]
    assert lines[1].endswith("at 3/3 loss 0.1")
    assert " passed after " in lines[-1]


def test_what_is_wrong_stands_in_the_log_and_is_no_exit_code(folder, capfd):
    code, err = execute(folder, capfd, "fail-train")
    assert code == 0
    assert "error: train of mei is bad �[2J" in err
    assert " failed after " in err.splitlines()[-1]


def test_the_last_words_are_never_our_own(folder, capfd):
    folder.path.mkdir()
    assert folder.last_words() == ""
    own = execute(folder, capfd)[1]
    folder.log.write_text(own)
    assert folder.last_words() == ""
    folder.log.write_text(f"an error of an attempt before\n{own}")
    assert folder.last_words() == ""
    folder.log.write_text(f"{own}\nCUDA error: out of memory\n\n")
    assert folder.last_words() == "CUDA error: out of memory"
